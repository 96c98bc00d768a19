"""Searches on speech: what the data determine, what is refused, and a whole one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hubserve import jobs, store
from hubserve.errors import JobError
from hubserve.evaluator import Objective
from hubserve.latency.profile_report import ProfileReport
from hubserve.pipeline import resolve_job, run_job
from hubserve.pipeline.pinned_data import pin_data
from hubserve.training.speech_synthesis import SpeechSynthesis
from tests.pipeline.definitions import short
from tests.speech import SYMBOLS

SMALL = {"hidden_size": 8, "filter_size": 8, "enc_layers": 1, "dec_layers": 1, "pitch_predictor_layers": 1}
RECIPE = {"epochs": 1, "batch_size": 8, "optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0}


def job(**changes):
    entries = {
        "space": {"name": "LightSpeech", "settings": SMALL},
        "data": "tests.speech:sung_data",
        "recipe": RECIPE,
        "retrain": RECIPE | {"epochs": 2},
        "objectives": ["val_loss"],
        "budget": {"trials": 1},
        "publish": {"formats": ["onnx"], "profile_seconds": 0.3},
    }
    return jobs.parse_job(short(**(entries | changes)), where="it")


@pytest.mark.slow
def test_the_data_determine_the_space(tmp_path):
    found = resolve_job(job(), where=tmp_path)
    assert found.settings["vocab_size"] == len(SYMBOLS) + 1 == found.space.vocab_size
    assert found.settings["f0_mean"] == pytest.approx(110, abs=3)
    assert found.space.outputs[0].seconds_per_step == {"frames": 256 / 22050}
    assert found.objectives == (Objective("val_loss", "minimize"),)
    assert isinstance(found.search_evaluator, SpeechSynthesis)
    assert (found.preprocess, found.scan, found.input_size) == (None, None, 0)
    assert found.facts()["data"].startswith("sung: 24 / 4 / 6 utterances to train, validate, test; 0.")
    assert "input_size" not in found.facts()


@pytest.mark.slow
def test_batches_are_those_of_the_recipe(tmp_path):
    found = resolve_job(job(retrain=RECIPE | {"batch_size": 12}), where=tmp_path)
    assert [len(target.mel) for _, target in found.recipe_evaluator.train_batches(0)] == [8, 8, 8]
    assert [len(target.mel) for _, target in found.retrain_evaluator.train_batches(0)] == [12, 12]
    assert [len(inputs) for inputs, _ in found.test_evaluator.val_batches()] == [2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["val_acc"]}, "^objectives: val_acc: .* scored by val_loss, which is minimized; name it first"),
        ({"space": {"name": "NasBench201", "settings": {}}}, "^space: .*vocab_size"),
        ({"space": {"name": "LightSpeech", "settings": {**SMALL, "vocab_size": 3}}}, "has the ids 0 to 2, .* has 4 phonemes"),
        ({"space": {"name": "LightSpeech", "settings": {**SMALL, "mel_bins": 20}}}, "^space: mel_bins = 20, and .* has 80"),
        ({"recipe": RECIPE | {"label_smoothing": 0.1}}, "^recipe.label_smoothing = 0.1: speech has no labels"),
        ({"retrain": RECIPE | {"label_smoothing": 0.1}}, "^retrain.label_smoothing = 0.1"),
        ({"zero_cost_filter": {"score": "naswot"}}, "^zero_cost_filter: zero-cost scores are computed on images"),
        ({"recipe": RECIPE | {"drop_path_prob": 0.1}}, "^recipe: .*no drop path"),
        ({"data": {"name": "spoken-numbers", "folder": "x"}}, "^data: spoken-numbers are made by eSpeak NG, and folder"),
        ({"latency": {"table": "x.json"}}, "^latency.table: no latency table at"),
    ],
)
def test_what_does_not_fit_is_reported_with_its_key(changes, message, tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(JobError, match=message):
        resolve_job(job(**changes), where=tmp_path)


@pytest.mark.slow
def test_images_are_not_scored_by_their_loss(tmp_path):
    entries = {"objectives": ["val_loss"]}
    with pytest.raises(JobError, match=r"^objectives: val_loss: .* digits are scored by val_acc, which is maximized"):
        resolve_job(jobs.parse_job(short(**entries), where="it"), where=tmp_path)


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_speech_only(home, tmp_path):
    run = jobs.create(short_text(job()))
    pin_data(resolve_job(job(), where=tmp_path), run)
    pin_data(resolve_job(job(), where=tmp_path), run)
    fewer = job(data={"name": "tests.speech:sung_data", "settings": {"test": 5}})
    with pytest.raises(JobError, match=r"^data: the items of .* are .*'test': 5.* this run began with .*'test': 6"):
        pin_data(resolve_job(fewer, where=tmp_path), run)


def short_text(found) -> str:
    return json.dumps(found.model_dump(mode="json", exclude_none=True))


@pytest.mark.slow
def test_a_whole_search_ends_in_a_published_network(home):
    run = jobs.create(short_text(job()))
    with jobs.hold(run):
        status = run_job(run)
    assert status.state == "done"
    assert status.test_acc is None
    assert status.test_scores["mel_l1"] < status.test_scores["mel_l1_of_one_mean"] * 1.2
    assert status.best.values["val_loss"] > 0
    folder = run.path / "package"
    manifest = json.loads((folder / "manifest.json").read_text())
    found = manifest["provenance"]["search"]
    assert found["data_found"]["symbols"] == list(SYMBOLS)
    assert len(found["data_found"]["mel_mean"]) == len(found["data_found"]["mel_std"]) == 80
    assert found["test_scores"] == status.test_scores
    assert manifest["outputs"][0]["seconds_per_step"] == {"frames": 256 / 22050}
    (parity,) = json.loads((folder / "parity.json").read_text())
    assert parity["passed"]
    real_time = ProfileReport.model_validate_json((folder / "profile.json").read_text()).real_time
    assert [point.lengths["length"] for point in real_time.points] == [25, 50, 100, 200]
    assert np.all([point.factor > 0 for point in real_time.points])
    with jobs.hold(run):
        assert run_job(run).published == status.published  # Nothing is done twice.
    assert [model.name for model in store.list_models()] == ["short"]
