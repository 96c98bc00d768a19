"""`hubserve eval` of a text classifier: on a listing or folder of texts, in this process and through a service."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from hubserve import store
from hubserve.cli.trained_on import trained_on
from hubserve.data.labelled_texts import LabelledTexts
from hubserve.package.manifest import Provenance
from hubserve.package.text_classifier import text_classifier
from tests.other_inputs import tagger_package
from tests.stores import service_over
from tests.text_models import LABELS, TEXTS, text_package

GOLDEN = Path(__file__).parent.parent / "golden" / "text-package"


@pytest.fixture
def texts(tmp_path):
    """A listing in which six of eight texts have the class that the model gives."""
    given = [row[0].label for row in text_classifier(text_package(), "torchscript").classify(TEXTS, top_k=1)]
    other = {LABELS[0]: LABELS[1], LABELS[1]: LABELS[0]}
    rows = [(text, label if place < 6 else other[label]) for place, (text, label) in enumerate(zip(TEXTS, given, strict=True))]
    with (tmp_path / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return tmp_path / "texts.csv"


@pytest.mark.parametrize("backend", ["torchscript", "eager"])
def test_the_report(hubserve, texts, backend):
    found = hubserve("eval", text_package().path, texts, "--backend", backend, "--batch-size", "3", "--json").json()
    assert (found["images"], found["top1_hits"], found["top1"], found["rule"]) == (8, 6, 75.0, "label")
    assert (found["accuracy"]["items"], found["accuracy"]["images"]) == ("texts", 8)
    assert {worst["file"] for worst in found["accuracy"]["worst"]} == set(TEXTS[6:])


def test_the_tables_name_texts(hubserve, texts, tmp_path):
    plot = tmp_path / "confusion.svg"
    said = hubserve("eval", text_package().path, texts, "--backend", "torchscript", "--confusion", plot).fine()
    assert "75.00 %  (6 of 8;" in said
    assert "fewer than 20 test texts" in said
    assert "image" not in said
    assert plot.exists()


def test_a_format_that_the_package_does_not_have(hubserve, texts):
    assert "has no onnx; it has torchscript" in hubserve("eval", text_package().path, texts).refused("PackageError")


def test_images_in_place_of_texts(hubserve, tmp_path):
    (tmp_path / "images" / LABELS[0]).mkdir(parents=True)
    (tmp_path / "images" / LABELS[0] / "1.png").write_bytes(b"")
    said = hubserve("eval", text_package().path, tmp_path / "images", "--backend", "torchscript").refused("DatasetError")
    assert "no text" in said


def test_a_model_of_neither_images_nor_texts(hubserve, texts):
    said = hubserve("eval", tagger_package().path, texts, "--backend", "torchscript").refused("OtherInputsError")
    assert "is no image classifier" in said


@pytest.mark.slow
def test_through_a_service(hubserve, texts, home, monkeypatch):
    """The golden package has ONNX, which the service runs."""
    store.publish(GOLDEN, name="reviews", version="v1")
    monkeypatch.setenv("HUBSERVE_MODEL", "reviews")
    here = hubserve("eval", "reviews", texts, "--json").json()
    with service_over(home) as url:
        there = hubserve("eval", "reviews", texts, "--url", url, "--json").json()
        assert there["backend"] == "http"
        assert [there[key] for key in ("images", "top1_hits")] == [here[key] for key in ("images", "top1_hits")]
        assert there["accuracy"]["calibration_error"] == pytest.approx(here["accuracy"]["calibration_error"], abs=1e-4)
    said = hubserve("eval", "reviews", texts, "--url", url).refused("DatasetError")
    assert url in said


@pytest.mark.parametrize(("more", "says"), [({}, True), ({"part": "test"}, False), ({"drawn": True}, False)])
def test_texts_that_may_have_trained_it(more, says):
    facts = {"run": "r", "data_found": {"texts": {"train": 8, "val": 1, "test": 1}, "sha256": "0" * 64}}
    package = text_package()
    manifest = package.manifest.model_copy(update={"provenance": Provenance(origin="search", search=facts)})
    found = trained_on(replace(package, manifest=manifest), LabelledTexts((("a", 0),), "label", **more))
    assert (found.note is not None) == says
    assert not says or "not known whether the model was trained on some of these texts" in found.note
