"""docs/hub is what scripts/docs writes, and what it says of size is near what was published."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from hubserve.cli.listings import card_page
from hubserve.hub import list_cards

pytestmark = pytest.mark.xdist_group("hub_pages")

ROOT = Path(__file__).parent.parent.parent
SPEC = importlib.util.spec_from_file_location("hub_pages", ROOT / "scripts" / "hub_pages.py")
assert SPEC is not None
assert SPEC.loader is not None
hub_pages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hub_pages)
DOCS = ROOT / "docs" / "hub"


@pytest.fixture(scope="module")
def models():
    return {name: card_page(name) for name in list_cards()}


@pytest.fixture(scope="module")
def pages(models):
    return hub_pages.texts(models)


@pytest.mark.slow
def test_pages_are_up_to_date(pages):
    assert {path.name for path in DOCS.glob("*.md")} == set(pages), "run scripts/docs"
    for name, text in pages.items():
        assert (DOCS / name).read_text("utf-8") == text, f"docs/hub/{name} is old: run scripts/docs"


@pytest.mark.slow
def test_links_lead_somewhere(pages):
    for name, text in pages.items():
        for target in re.findall(r"\]\(([^)]+)\)", text):
            assert (DOCS / target).is_file(), f"{name} links to {target}"


@pytest.mark.slow
@pytest.mark.parametrize("name", list_cards())
def test_size_is_near_what_was_published(models, name):
    """Authors round, count batch norms or squeeze-and-excite differently, or leave out a bias: within 7 %."""
    page = models[name]
    published = page["published_size"] or {}
    if "params" in published:
        assert page["params"] / 1e6 == pytest.approx(published["params"], rel=0.07)
    if "macs" in published:
        assert (page["macs"] + (page["attention_macs"] or 0)) / 1e6 == pytest.approx(published["macs"], rel=0.07)
