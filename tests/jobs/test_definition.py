"""Job files: what is wrong is told with its key, what was found, what is allowed, and near names."""

from __future__ import annotations

import pytest
import yaml
from pydantic import BaseModel

from hubserve.errors import JobError
from hubserve.jobs import FineTuneJob, SearchJob, dump_job, parse_job, read_job
from hubserve.jobs.definition import DataEntry
from tests.jobs.definitions import SMALLEST


def job(**changes: object) -> str:
    """The smallest job with other entries."""
    return yaml.safe_dump({**yaml.safe_load(SMALLEST), **changes})


def refused(text: str) -> str:
    with pytest.raises(JobError) as error:
        parse_job(text, where="my.yaml")
    return str(error.value)


def test_what_is_not_said_has_a_default():
    found = parse_job(SMALLEST, where="it")
    assert found.objectives == {"val_acc": "maximize"}
    assert (found.seed, found.retrain, found.executor.kind, found.store_name) == (0, None, "inline", "smallest")
    assert found.publish.formats == ("onnx", "torchscript")


def test_objectives_by_name_go_their_usual_way():
    found = parse_job(job(objectives=["val_acc", "latency_ms"]), where="it")
    assert found.objectives == {"val_acc": "maximize", "latency_ms": "minimize"}


@pytest.mark.parametrize(
    ("evaluator", "score"),
    [
        ({"name": "ZeroCost"}, "naswot"),
        ({"name": "ZeroCost", "arguments": {"score": "zen"}}, "zen"),
        ({"name": "a:b"}, "val_acc"),
    ],
)
def test_the_score_of_the_evaluator_is_the_first_objective(evaluator, score):
    assert parse_job(job(evaluator=evaluator), where="it").objectives == {score: "maximize"}
    found = parse_job(job(evaluator=evaluator, objectives=[score, "params"]), where="it")
    assert found.objectives == {score: "maximize", "params": "minimize"}
    if evaluator["name"] == "ZeroCost":
        assert f"val_acc: {score} must come first" in refused(job(evaluator=evaluator, objectives=["val_acc"]))
    else:
        assert "params: a score of the evaluator must come first" in refused(job(evaluator=evaluator, objectives=["params"]))
        assert parse_job(job(evaluator=evaluator, objectives=["mine"]), where="it").objectives == {"mine": "maximize"}


def test_a_filter_by_a_zero_cost_score():
    found = parse_job(job(zero_cost_filter={}), where="it").zero_cost_filter
    assert (found.score, found.quantile, found.archs, found.images) == ("naswot", 0.5, 100, 64)
    assert parse_job(job(), where="it").zero_cost_filter is None


def test_a_job_is_the_same_as_text_and_as_data(tmp_path):
    found = parse_job(SMALLEST, where="it")
    assert parse_job(dump_job(found.model_dump(mode="json")), where="it") == found
    (tmp_path / "job.yaml").write_text(SMALLEST)
    assert read_job(tmp_path / "job.yaml") == found


def test_nobody_publishes_without_onnx():
    assert parse_job(job(publish=None), where="it").publish is None
    assert "publish.formats: the service runs onnx; add it" in refused(job(publish={"formats": ["torchscript"]}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sapce": 1}, "sapce: there is no such key. Did you mean space? Allowed: name, summary, data,"),
        ({"strategy": {"name": "Random", "then": {"nam": 1}}}, "strategy.then.nam: there is no such key. Did you mean name?"),
        ({"space": {}}, "space.name is missing"),
        ({"seed": -1}, "seed = -1: input should be greater than or equal to 0"),
        ({"budget": {"trials": 0}}, "budget.trials = 0: input should be greater than or equal to 1"),
        ({"budget": {"seconds": "soon"}}, "budget.seconds = 'soon': input should be a valid number"),
        (
            {"recipe": {"optimizer": "adamx"}},
            "recipe.optimizer = 'adamx' is not one of sgd, adam, adamw, rmsprop. Did you mean",
        ),
        ({"retrain": {"epochs": 0}}, "retrain.epochs = 0: input should be"),
        (
            {"objectives": ["acc"]},
            "objectives: 'acc' is not one of params, macs, latency_ms, val_acc, val_loss, naswot, jacov, synflow, snip, zen. "
            "Did you mean val_acc",
        ),
        ({"objectives": ["val_acc", "naswot"]}, "naswot: a zero-cost score is the first objective of the evaluator ZeroCost"),
        ({"zero_cost_filter": {"score": "nwot"}}, "zero_cost_filter.score = 'nwot' is not one of naswot, jacov, synflow,"),
        ({"zero_cost_filter": {"quantile": 1}}, "zero_cost_filter.quantile = 1: input should be less than 1"),
        ({"zero_cost_filter": {"images": 1}}, "zero_cost_filter.images = 1: input should be greater than or equal to 2"),
        (
            {"objectives": {"val_acc": "minimize"}},
            "objectives: val_acc: minimize is the wrong way; it is better to maximize it",
        ),
        ({"objectives": ["params", "val_acc"]}, "objectives: params, val_acc: val_acc must come first"),
        ({"objectives": []}, "objectives = "),
        (
            {"constraints": {"latency": 8}},
            "constraints.latency = 'latency' is not one of params, macs, latency_ms. Did you mean",
        ),
        ({"constraints": {"latency_ms": float("nan")}}, "constraints.latency_ms = nan"),
        ({"executor": {"workers": 2}}, "executor: workers = 2: inline runs one trial at a time; choose processes or ray"),
        ({"executor": {"kind": "processes", "address": "x"}}, "executor: address: of ray, and kind is processes"),
        ({"name": "../x"}, "name = '../x': string should match pattern"),
        ({"publish": {"name": "UPPER"}}, "publish.name = 'UPPER': string should match pattern"),
    ],
)
def test_what_is_wrong_is_told(changes, message):
    said = refused(job(**changes))
    assert said.startswith("my.yaml is not a job: ")
    assert message in said


def test_all_mistakes_at_once():
    said = refused(job(a=1, b=2, seed="x"))
    assert all(f"{key}" in said for key in ("a: there is no such key", "b: there is no such key", "seed = 'x'"))
    assert "and 10 more" in refused(job(**{f"x{i}": 1 for i in range(20)}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "holds a list; a job is a mapping"),
        ("", "holds a NoneType"),
        ("a: [", "my.yaml is not YAML: "),
        ("name: a\nname: b", "'name' stands twice"),
        ("!!python/object/apply:os.system ['true']", "is not YAML: could not determine a constructor"),
        ("? [a]\n: 1", "is not YAML"),
    ],
)
def test_what_is_no_mapping(text, message):
    assert message in refused(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(JobError, match="cannot read the job"):
        read_job(tmp_path / "none.yaml")


def test_every_key_is_described():
    """The docstrings are the reference of the format."""
    seen = []

    def check(record: type) -> None:
        for name, field in record.model_fields.items():
            docs = "".join(base.__doc__ or "" for base in record.__mro__ if issubclass(base, BaseModel))
            assert f"\n        {name}: " in docs or f"\n    {name}: " in docs, (record, name)
            seen.append(name)
            inner = getattr(field.annotation, "__args__", (field.annotation,))
            for kind in inner:
                if hasattr(kind, "model_fields"):
                    check(kind)

    check(SearchJob)
    check(FineTuneJob)
    assert len(seen) > 70


@pytest.mark.parametrize("name", ["digits", "movie-sentences", "spoken-numbers"])
def test_a_data_set_without_a_place_by_its_name(name):
    assert DataEntry.model_validate(name) == DataEntry(name=name)
