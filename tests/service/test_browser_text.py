"""A text classifier on the web page, in a real browser: a field for the text in place of the image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

from hubserve import store
from hubserve.accuracy_from_logits import accuracy_report
from hubserve.service.api import build_api
from hubserve.service.middleware import ServiceMiddleware
from tests.images import noise
from tests.service.test_browser import (
    CHROMIUM,
    Axe,
    answers,
    browser,  # noqa: F401 - a fixture
    choose,
    expect,
)
from tests.stores import service_over, store_at

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("server"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium"),
]

GOLDEN = Path(__file__).parent.parent / "golden"
TEXT = "What a good film, with a “fine” plot"


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    """A server with an image classifier, which is the default, and a text classifier."""
    home = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MODEL": "digits", "THREADS": "1", "SESSION_THREADS": "1", "MAX_BATCH": "2"}.items():
            patch.setenv(f"HUBSERVE_{name}", value)
        with store_at(home):
            store.publish(GOLDEN / "package", name="digits", version="v1")
            store.publish(GOLDEN / "text-package", version="v1")
        patch.setattr("hubserve.service.api.api", ServiceMiddleware(build_api()))
        with service_over(home) as url:
            yield url


@pytest.fixture
def page(browser, url) -> Iterator[object]:  # noqa: F811
    """A visitor; nothing that the page does may fail."""
    context = browser.new_context(base_url=url, viewport={"width": 1200, "height": 900})
    context.set_default_timeout(20_000)
    wrong: list[str] = []
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("console", lambda line: wrong.append(line.text) if "Failed to load resource" not in line.text else None)
    page = context.new_page()
    page.goto("/")
    yield page
    context.close()
    assert wrong == []


def test_a_text_is_classified(page, url):
    expect(page.get_by_role("button", name="Choose an image")).to_be_visible()
    expect(page.get_by_label("Text")).to_be_hidden()
    page.get_by_label("Model").select_option("reviews:v1")
    expect(page.get_by_role("heading", level=1)).to_have_text("What does the text say?")
    expect(page.get_by_role("button", name="Choose an image")).to_be_hidden()
    page.get_by_label("Text").fill(TEXT)
    page.get_by_role("button", name="Classify the text").click()
    expect(answers(page)).to_have_count(2)
    told = httpx2.post(f"{url}/classify-text?model=reviews", content=TEXT.encode()).json()["predictions"]
    assert page.locator("#answer .label").all_text_contents() == [one["label"] for one in told]
    shares = [float(text.removesuffix(" %")) for text in page.locator("#answer .value").all_text_contents()]
    assert shares == pytest.approx([100 * one["probability"] for one in told], abs=0.051)
    expect(page.locator("#answer .note")).to_contain_text(re.compile(r"reviews:v1.*tokens [\d.]+ ms · inference [\d.]+ ms"))
    expect(page.locator("#curl")).to_have_text(
        re.compile(r"""curl --json '{"text": "..."}' 'http://.*/classify-text\?model=reviews%3Av1&top_k=2'""")
    )
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_an_empty_text_is_not_sent_and_a_refusal_is_shown(page):
    page.get_by_label("Model").select_option("reviews:v1")
    page.get_by_role("button", name="Classify the text").click()
    expect(page.locator("#answer")).to_contain_text("The most likely classes appear here.")
    page.get_by_role("spinbutton", name="Classes").fill("9")
    page.get_by_label("Text").fill(TEXT)
    page.get_by_role("button", name="Classify the text").click()
    expect(page.get_by_role("alert")).to_contain_text("top_k = 9 is not between 1 and 2")


def test_from_texts_to_images_and_back(page):
    choose(page, noise(), "noise.png", "image/png")
    expect(answers(page)).to_have_count(5)
    page.get_by_label("Model").select_option("reviews:v1")
    expect(page.locator("#answer")).to_contain_text("The most likely classes appear here.")
    page.get_by_label("Text").fill("bad")
    page.get_by_role("button", name="Classify the text").click()
    expect(answers(page)).to_have_count(2)
    page.get_by_label("Model").select_option("")
    expect(answers(page)).to_have_count(5)


def test_a_model_is_tried_from_its_page(page):
    page.goto("/#models/reviews%3Av1")
    page.get_by_role("link", name="Try it").click()
    expect(page.locator("#model")).to_have_value("reviews:v1")
    expect(page.get_by_label("Text")).to_be_visible()


def test_the_accuracy_names_texts(page):
    """The report of a text classifier counts texts, not images."""
    true = np.arange(30) % 2
    logits = np.eye(2)[np.where(np.arange(30) < 3, 1 - true, true)]
    files = [f"text {i}" for i in range(30)]
    report = accuracy_report(logits, true, ("negative", "positive"), files, dataset="reviews", items="texts")
    page.route("**/models/*/accuracy", lambda route: route.fulfill(json=report.model_dump(mode="json")))
    page.goto("/#models/reviews:v1")
    detail = page.locator("#model-detail")
    expect(detail.get_by_role("heading", name="Test accuracy")).to_have_text("Test accuracy 90.0 %")
    expect(detail).to_contain_text("of 30 texts. Calibration")
    expect(detail.get_by_role("region", name="Worst texts").locator("tbody tr")).to_have_count(3)
    for name, first in (("Accuracy by class", ["Class", "Texts"]), ("Worst texts", ["Text", "True"])):
        assert detail.get_by_role("region", name=name).locator("th[scope=col]").all_text_contents()[:2] == first
