"""A package of a text classifier answers texts as eager PyTorch does."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from hubserve.errors import OtherInputsError, PackageError, TextError, TopKError
from hubserve.export.model_source import package_source
from hubserve.export.rebuild_model import rebuild_model
from hubserve.export.write_package import write_package
from hubserve.package.add_files import add_files
from hubserve.package.package import read_package
from hubserve.package.text_classifier import read_tokenizer, text_classifier
from hubserve.package.text_tokenizer import TOKENIZER
from tests.stores import tiny_package
from tests.text_models import LABELS, TEXTS, text_package, text_source

UNSEEN = ["a good plot and fine acting", "bad", "I never saw this: what is it? " * 20, *TEXTS]


@pytest.mark.parametrize("name", ["torchscript", pytest.param("onnx", marks=pytest.mark.slow)])
def test_answers_from_texts_are_those_of_eager_pytorch(name):
    classifier = text_classifier(text_package(name), name)
    model = rebuild_model(text_package(name))
    ids = torch.from_numpy(classifier.tokenizer.encode(UNSEEN))
    with torch.no_grad():
        expected = model(ids).numpy()
    assert np.abs(classifier.logits(UNSEEN) - expected).max() <= 1e-4 * expected.std()
    for best, row in zip(classifier.classify(UNSEEN), expected, strict=True):
        assert best[0].label == LABELS[row.argmax()]
        assert sum(entry.probability for entry in best) == pytest.approx(1)


def test_an_answer_does_not_depend_on_other_texts():
    classifier = text_classifier(text_package(), "torchscript")
    alone = np.concatenate([classifier.logits([text]) for text in UNSEEN])
    assert np.abs(classifier.logits(UNSEEN * 8)[: len(UNSEEN)] - alone).max() <= 1e-4 * alone.std()


def test_what_is_wrong_is_named():
    classifier = text_classifier(text_package(), "torchscript")
    with pytest.raises(TextError, match="text 99, counted from 0, is empty"):
        classifier.classify(["good"] * 99 + [""])
    with pytest.raises(TopKError, match="top_k = 3"):
        classifier.classify(["good"], top_k=3)


def test_parity_is_proven_on_the_texts():
    (report,) = text_package().parity
    assert report.batches[-1] == len(TEXTS)
    assert report.lengths[-1] == {"length": 11}


def test_other_models_are_named():
    with pytest.raises(OtherInputsError, match="is no text classifier: it takes images"):
        text_classifier(tiny_package())
    manifest = text_package().manifest
    given = [entry.model_copy(update={"prepared_by": "none"}) for entry in manifest.inputs]
    other = replace(text_package(), manifest=manifest.model_copy(update={"inputs": tuple(given)}))
    with pytest.raises(OtherInputsError, match="reviews is no text classifier: it takes tokens"):
        read_tokenizer(other)


def test_a_package_without_a_tokenizer_takes_token_ids(tmp_path):
    package = write_package(text_source(tokenizer=False), tmp_path / "ids", formats=["torchscript"])
    with pytest.raises(PackageError, match=r"has no tokenizer\.json, so it takes token ids"):
        text_classifier(package, "torchscript")
    with pytest.raises(PackageError, match="has no tokenizer, and 8 texts are given"):
        write_package(text_source(tokenizer=False), tmp_path / "new", formats=["torchscript"], texts=TEXTS)


def test_the_tokenizer_is_hashed_and_kept_by_another_export(tmp_path):
    again = write_package(package_source(text_package()), tmp_path / "again", formats=["torchscript"])
    assert again.manifest.files[TOKENIZER] == text_package().manifest.files[TOKENIZER]
    folder = shutil.copytree(text_package().path, tmp_path / "copy")
    (folder / TOKENIZER).write_text("{}")
    with pytest.raises(PackageError, match=r"tokenizer\.json was changed"):
        read_package(folder).verify()
    with pytest.raises(PackageError, match="model is 'NoneType'"):
        read_tokenizer(read_package(folder))
    with pytest.raises(PackageError, match=r"cannot add 'tokenizer\.json'"):
        add_files(again, {TOKENIZER: b"{}"})


def test_a_tokenizer_that_does_not_fit_is_refused_by_the_export(tmp_path):
    source = text_source()
    wrong = type(source)(**{**vars(source), "tokenizer": source.tokenizer.replace('"good":', '"good":40')})
    with pytest.raises(PackageError, match=r"ids up to 40\d, and the model takes at most 59"):
        write_package(wrong, tmp_path / "new", formats=["torchscript"])
    assert not (tmp_path / "new").exists()
