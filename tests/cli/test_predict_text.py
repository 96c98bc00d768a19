"""`hubserve predict MODEL --text`: texts in, classes out; and what does not go with texts."""

from __future__ import annotations

import pytest

from hubserve.package import text_classifier as module
from tests.text_models import LABELS, text_package


@pytest.fixture
def model(monkeypatch):
    """The folder of a text classifier, run as TorchScript, which is written sooner than ONNX."""
    plain = module.text_classifier
    monkeypatch.setattr("hubserve.cli.text_predictions.text_classifier", lambda package: plain(package, "torchscript"))
    return str(text_package().path)


def test_texts_in_their_order(hubserve, model):
    found = hubserve("predict", model, "--text", "a good film", "--text", "bad", "--top-k", "1", "--json").json()
    assert [entry["text"] for entry in found] == ["a good film", "bad"]
    expected = module.text_classifier(text_package(), "torchscript").classify(["a good film", "bad"], top_k=1)
    assert [entry["predictions"] for entry in found] == [[best.model_dump() for best in row] for row in expected]


def test_a_table(hubserve, model):
    said = hubserve("predict", model, "--text", "a good film").fine()
    assert "a good film" in said
    assert all(label in said for label in LABELS)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--text", " "], "the text is empty"),
        (["--text", "good", "photo.jpg"], "IMAGES does not go with --text"),
        (["--text", "good", "--features"], "--features does not go with --text"),
        (["--text", "good", "--top-k", "3"], "top_k = 3 is not between 1 and 2"),
    ],
)
def test_what_is_wrong_is_named(hubserve, model, more, says):
    said = hubserve("predict", model, *more)
    assert said.code == 2
    assert says in said.err


def test_images_for_a_text_classifier(hubserve, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    said = hubserve("predict", str(text_package().path), tmp_path / "photo.jpg")
    assert said.code == 2
    assert "It classifies texts: `hubserve predict --text`." in " ".join(said.err.split())


def test_texts_for_an_image_classifier(hubserve, small):
    said = hubserve("predict", str(small), "--text", "good")
    assert said.code == 2
    assert "is no text classifier: it takes images" in " ".join(said.err.split())
