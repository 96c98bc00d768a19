"""The model card of a pushed package: what the hub reads of it, and that no name in it changes its meaning."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from hubserve.cards.card import Metric
from hubserve.package.accuracy_report import AccuracyReport, ClassFigures
from hubserve.package.manifest import Provenance
from hubserve.package.package import Package
from hubserve.package.readme import _text, readme
from tests.stores import tiny_package
from tests.text_models import text_package

REPORT = AccuracyReport(
    dataset="my flowers",
    images=200,
    top1=0.915,
    top1_interval=(0.868, 0.946),
    classes=tuple(ClassFigures(label=f"kind {i}", images=30, precision=0.9, recall=None) for i in range(7)),
    confusion=None,
    confused=(),
    calibration_error=0.021,
    notes=("2 classes have few images.",),
)


def described(report: AccuracyReport | None = None, **provenance) -> Package:
    package = tiny_package()
    manifest = package.manifest.model_copy(update={"provenance": Provenance(**provenance), "temperature": 1.25})
    found = replace(package, manifest=manifest)
    found.__dict__["accuracy"] = report  # The cached property, as if accuracy.json were there.
    return found


def test_what_the_hub_reads():
    package = described(
        REPORT,
        origin="fine-tuning",
        weights="fine-tuned",
        licence="Apache-2.0",
        fine_tuning={"start": "efficientnet-lite0", "start_weights": "published", "seed": 3, "recipe": {"minutes": 10}},
    )
    card = ModelCard(readme(package, "hf://me/flowers", timm=True))
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "timm"
    assert card.data.base_model == "timm/tf_efficientnet_lite0.in1k"
    assert card.data.pipeline_tag == "image-classification"
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("my flowers", "accuracy", 0.915)
    for sentence in (
        "**91.5%** top-1 (95 % interval 86.8% to 94.6%) of 200 test images of my flowers",
        "Expected calibration error of the probabilities: 0.021",
        "- 2 classes have few images.",
        "| kind 3 | 30 | 90.0% |  |",
        "hubserve pull hf://me/flowers --name tiny",
        'timm.create_model("hf-hub:me/flowers", pretrained=True)',
        "divided by the temperature 1.25",
        "| fine-tuning: seed | 3 |",
        "loaded only with `--trust`",
    ):
        assert sentence in card.text, sentence


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", ("mit", None)),
        ("Apache-2.0, of timm, which trained them", ("apache-2.0", None)),
        ("unstated; NNI, which hosts the file, is MIT", ("other", "unstated; NNI, which hosts the file, is MIT")),
        (None, (None, None)),
    ],
)
def test_licences(licence, expected):
    front = yaml.safe_load(readme(described(licence=licence), "s3://b/x").split("---\n")[1])
    assert (front.get("license"), front.get("license_name")) == expected


def test_no_base_model_where_it_is_not_known():
    for start in (
        {"start": "my-own", "start_weights": "published"},
        {"start": "efficientnet-lite0", "start_weights": "random"},
        {},
    ):
        assert "base_model" not in readme(described(fine_tuning=start), "s3://b/x").split("---\n")[1]


def test_published_accuracy_is_not_ours():
    text = readme(described(metric=Metric(dataset="ImageNet", top1=75.1)), "s3://b/x")
    assert "75.1 % top-1 on ImageNet, as published; not measured on this package." in text
    assert "model-index" not in text


def test_no_figure_without_test_images():
    assert "It was not measured on test images." in readme(described(), "s3://b/x")


def test_a_text_classifier():
    package = replace(text_package())
    package.__dict__["accuracy"] = REPORT.model_copy(update={"items": "texts", "dataset": "reviews", "notes": ()})
    text = readme(package, "hf://me/reviews")
    card = ModelCard(text)
    assert card.data.pipeline_tag == "text-classification"
    assert (card.data.eval_results[0].task_type, card.data.eval_results[0].metric_value) == ("text-classification", 0.915)
    for part in (
        "A text classifier with 2 classes",
        "of 200 test texts of reviews",
        "| class | test texts | precision | recall |",
        'hubserve predict reviews --text "a good film"',
        "POST /classify-text?model=reviews",
        'classifier.classify(["a good film"])',
    ):
        assert part in text, part
    assert "image" not in text
    package.__dict__["accuracy"] = None
    assert "It was not measured on test texts." in readme(package, "hf://me/reviews")


@given(st.text(max_size=30))
def test_names_are_text(text):
    shown = _text(text)
    assert "\n" not in shown
    assert not any(sign in shown.replace(f"\\{sign}", "") for sign in "|<>[]#")


def test_a_label_with_markup():
    package = described()
    package.__dict__["labels"] = ("a | b", "<script>", "# title", "[link](x)", "*", "ü", "---")
    text = readme(package, "s3://b/x")
    assert r"a \| b, \<script\>, \# title, \[link\](x), \*, ü, ---" in text
    assert ModelCard(text).data.library_name == "hubserve"
