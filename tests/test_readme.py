"""The README's Python runs, and says what it says; tests/test_public_names.py checks its types."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
import torch

import hubserve
from hubserve import store
from hubserve.errors import ServiceError
from tests.images import photo
from tests.stores import service_over

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FIRST_SERVICE = "http://127.0.0.1:3000"


def block_with(text: str) -> str:
    return next(block for block in BLOCKS if text in block)


@pytest.fixture
def names(monkeypatch):
    """The names of a module that the README's Python runs in."""
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    return vars(module)


def test_it_opens_with_python_that_classifies_an_image(capsys, monkeypatch, names, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(photo("coffee"))
    Path("other.jpg").write_bytes(photo("chelsea"))
    first, second = BLOCKS[:2]
    assert README.index("```") == README.index(f"```python\n{first}")
    with service_over(tmp_path / "bentoml") as url:
        exec(first, names)
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "espresso 90%"
        assert said[3:] == ["1000 classes; 2 layers in stage 3"]
        assert names["logits"].shape == (1, 1000)
        assert names["features"].shape == (2, 1280)
        tag = store.publish(ROOT / "tests" / "golden" / "package").tag
        assert FIRST_SERVICE in second
        exec(second.replace(FIRST_SERVICE, url), names)
        expected = [prediction.label for prediction in hubserve.load(tag)("photo.jpg", top_k=3)]
        assert capsys.readouterr().out == f"{tag} {expected}\n"
        with pytest.raises(ServiceError, match="answers 415"):
            hubserve.client.Client(url).classify(b"no image")


def test_a_space_of_ones_own_and_a_search(capsys, names, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    exec(block_with("class Small"), names)
    said = re.search(r"print\(space.count\(\)\) +# (\d+)", README)
    assert said is not None
    assert capsys.readouterr().out.strip() == said[1]
    assert names["network"](torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    search = block_with("NasExperiment")
    exec(search.replace("max_epochs=5", "max_epochs=1").replace("max_trials=50", "max_trials=2"), names)
    assert len(names["experiment"].export_top_models(formatter="dict")) == 1


def test_a_model_of_the_hub_by_nni_s_method(names):
    """With random weights: those of this model are on a host that a test does not ask."""
    exec(block_with("load_searched_model").replace("pretrained=True, download=True", "pretrained=False"), names)
    assert names["network"](torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
