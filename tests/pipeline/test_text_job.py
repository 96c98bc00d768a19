"""A search on texts: from sentences to a published package that answers sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hubserve import jobs, store
from hubserve.cli.job_tables import print_status
from hubserve.data.named_datasets import load_search_data
from hubserve.errors import JobError
from hubserve.package.readme import readme
from hubserve.package.text_classifier import text_classifier
from hubserve.package.text_tokenizer import TOKENIZER
from hubserve.pipeline import resolve_job, run_job
from hubserve.pipeline.pinned_data import pin_data
from tests.sentences import place_sentences, rated

JOB = Path(__file__).parent.parent.parent / "search_jobs" / "text_quickstart.yaml"
SMALL = {
    "space": {"name": "NASBERT", "settings": {"embedding_size": 16, "hidden_sizes": [16], "head_dim": 8, "num_blocks": 1}},
    "strategy": {"name": "Random"},
    "budget": {"trials": 2},
    "recipe": {"epochs": 2, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.01},
    "retrain": {"epochs": 4, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.01},
}


@pytest.fixture(autouse=True)
def placed(tmp_path, monkeypatch, home):
    return place_sentences(monkeypatch, tmp_path / "home")


def short(**changes: object) -> str:
    return yaml.safe_dump({**yaml.safe_load(JOB.read_text("utf-8")), **SMALL, **changes})


def resolved(**changes: object):
    return resolve_job(jobs.parse_job(short(**changes), where="it"), where=Path())


def test_the_space_is_made_for_the_texts():
    found = resolved()
    assert (found.space.vocab_size, found.space.max_length, found.space.num_labels) == (found.data.vocabulary, 40, 2)
    facts = found.facts()
    assert facts["data"] == "movie-sentences: 192 / 24 / 24 texts to train, validate, test"
    assert facts["tokens"].endswith("in the vocabulary, at most 40 of a text")
    assert found.preprocess is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": {"name": "NasBench201"}}, "movie-sentences has texts, and NasBench201 takes images .*such as NASBERT"),
        ({"space": {"name": "NASBERT", "settings": {"num_labels": 3}}}, "has 3 classes and movie-sentences has 2"),
        ({"space": {"name": "NASBERT", "settings": {"vocab_size": 10}}}, "does not take the texts of .* ids up to"),
        ({"space": {"name": "NASBERT", "settings": {"max_length": 4}}}, "does not take the texts of .* axis 'length' has the"),
        ({"data": {"name": "digits"}}, "does not take images"),
        ({"data": {"name": "movie-sentences", "folder": "films"}}, "are downloaded into the folder of hubserve, and folder"),
        ({"data": {"name": "movie-sentences", "settings": {"max_tokens": 2}}}, "max_tokens = 2"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, says):
    with pytest.raises(JobError, match=says):
        resolved(**changes)


def test_a_run_goes_on_with_the_same_texts_only(tmp_path, monkeypatch):
    run = jobs.create(short())
    pin_data(resolved(), run)
    pin_data(resolved(), run)
    place_sentences(monkeypatch, tmp_path / "home", [(rating, f"{text} again") for rating, text in rated()])
    with pytest.raises(JobError, match=r"the sha256 of movie-sentences are .*, and this run began with"):
        pin_data(resolved(), run)


@pytest.mark.slow
def test_a_search_on_texts_is_published_and_answers_them(capsys):
    run = jobs.create(short())
    with jobs.hold(run):
        status = run_job(run)
    assert status.state == "done"
    print_status(run, as_json=False)
    said = capsys.readouterr().out
    assert "of 24 texts (95 %" in said
    assert "fewer than 20 test texts of negative, positive" in said
    assert "image" not in said
    assert status.test_acc >= 0.8
    package = store.resolve("sentences").package
    assert package.labels == ("negative", "positive")
    assert TOKENIZER in package.manifest.files
    assert [report.passed for report in package.parity] == [True]
    assert package.parity[0].batches[-1] == 8
    assert (package.accuracy.images, package.accuracy.items) == (24, "texts")
    assert package.manifest.provenance.search["test_texts"] == 24
    assert "image" not in readme(package, "s3://bucket/sentences")
    assert package.manifest.provenance.search["val_acc"] >= 0.8
    assert json.loads((run.path / "data.json").read_text())["items"] == {"train": 192, "val": 24, "test": 24}
    test = load_search_data("movie-sentences").test
    answers = text_classifier(package).classify(test.texts, top_k=1)
    right = [answer[0].index == label for answer, label in zip(answers, test.targets.tolist(), strict=True)]
    assert sum(right) / len(right) == pytest.approx(status.test_acc)
