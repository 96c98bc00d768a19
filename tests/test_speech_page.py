"""docs/speech.md: its Python runs from top to bottom and prints what it says, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.page_code import code_blocks, run_python
from tests.speech import needs_espeak

PATH = Path(__file__).parent.parent / "docs" / "speech.md"
PAGE = PATH.read_text("utf-8")


@pytest.mark.slow
@needs_espeak
def test_its_python(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    assert run_python(PAGE, "speech_page", capsys, monkeypatch)["scores"]["val_loss"] > 0


def test_its_other_python_is_python():
    (listening,) = code_blocks(PAGE, "py")  # It needs the published model.
    compile(listening, str(PATH), "exec")


def test_its_links_exist():
    for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", PAGE):
        assert (PATH.parent / link).exists(), link
