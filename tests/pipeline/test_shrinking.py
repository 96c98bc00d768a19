"""Searches for a smaller network in a trained one, run for real on small images and a small network."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import yaml

from hubserve import jobs, store
from hubserve.errors import JobError, NothingFeasibleError
from hubserve.hub.registry import get_space
from hubserve.jobs import JobStatus
from hubserve.pipeline import resolve_job, run_job
from hubserve.pipeline.phases.measure_limit import MeasuredLimit
from hubserve.service.engine import Engine
from hubserve.supernet.elastic_space import ElasticSpace
from tests.pipeline.test_run import Interrupt
from tests.training.finetuning.small import SETTINGS, write_model_and_parts


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A folder with a package of a small network, and images in train/ and test/."""
    return write_model_and_parts(tmp_path_factory.mktemp("begun"))


def definition(begun: Path, **changes: object) -> str:
    given = {
        "name": "colours-small",
        "start": {"model": str(begun / "small")},
        "strategy": {"name": "RegularizedEvolution", "arguments": {"population_size": 3}},
        "data": {"name": "folder", "folder": str(begun / "colours")},
        "recipe": {"epochs": 3, "batch_size": 8},
        "constraints": {"latency_share": 0.95},
        "budget": {"trials": 5},
        "publish": {"formats": ["onnx"], "profile_seconds": 0.3},
    }
    return yaml.safe_dump(given | changes)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["fitted", pytest.param("shared", marks=pytest.mark.long)])
def test_from_a_model_to_a_smaller_one(tmp_path, weights):
    # Few images leave the found network near chance, and which one is found depends on measured latencies.
    begun = write_model_and_parts(tmp_path, count=40)
    recipe = {"epochs": 10, "batch_size": 8, "learning_rate": 0.02, "augment": {"mixup": 0, "cutmix": 0}}
    run = jobs.create(definition(begun, recipe=recipe, weights=weights))
    reported: list[JobStatus] = []
    with jobs.hold(run):
        status = run_job(run, on_status=reported.append)
    assert status.state == "done"
    phases = {found.phase for found in reported}
    assert phases >= {"search", "fine-tune", "test", "export", "profile", "publish"}
    assert ("supernet" in phases) == (weights == "shared")
    values = status.best.values
    assert values["latency_ms"] <= 0.95 * values["full_latency_ms"]
    assert (status.test_acc is not None, status.trials) == (True, 5)
    package = store.resolve(status.published).package
    package.verify()
    manifest = package.manifest
    start = jobs.parse_job(run.definition(), where="it")
    inner = get_space("ProxylessNAS", {**SETTINGS, "num_labels": 3})
    whole = resolve_job(start, where=Path.cwd()).source.arch
    ElasticSpace.of(inner, whole).validate(manifest.arch)
    assert manifest.arch == status.best.arch != whole
    assert manifest.provenance.fine_tuning["shrinking"]["scores"]["full_latency_ms"] == values["full_latency_ms"]
    right = 0
    for path in sorted((begun / "colours" / "test").glob("*/*.png")):
        right += Engine(package).classify(path.read_bytes()).predictions[0].label == path.parent.name
    assert right / 15 == pytest.approx(status.test_acc)
    assert right > 5  # By chance.


@pytest.mark.parametrize(("params", "published"), [(100, False), (10**9, True)])
def test_the_smallest_network_is_published_only_if_it_meets_the_other_constraints(monkeypatch, params, published):
    """It is tried last, where no trial's network is fast enough; no trial has checked it."""
    phase = sys.modules["hubserve.pipeline.phases.choose_shrunk_network"]
    monkeypatch.setattr(phase, "measured_in_turns", lambda resolved, archs, run: dict.fromkeys(archs, 1.0))
    inner = get_space("ProxylessNAS", {**SETTINGS, "num_labels": 3})
    constraints = {"latency_ms": 5, "params": params}
    job = jobs.parse_job(definition(Path("none"), constraints=constraints), where="it")
    space = ElasticSpace.of(inner, inner.random(Random(0)))
    resolved = SimpleNamespace(space=space, job=job, input_size=32)
    experiment = SimpleNamespace(top_trials=lambda most: (), stop_reason="300 proposals did not meet all constraints")
    limit = MeasuredLimit(full_ms=9, smallest_ms=1, limit_ms=5)
    if published:
        assert phase._choose(experiment, resolved, limit, None)[:2] == (None, space.smallest)
        return
    with pytest.raises(NothingFeasibleError, match=r"no network meets .*'params': 100"):
        phase._choose(experiment, resolved, limit, None)


@pytest.mark.long
@pytest.mark.parametrize("weights", ["fitted", pytest.param("shared", marks=pytest.mark.long)])
def test_interrupted_at_every_phase_it_ends_as_without(begun, weights):
    """Without latency, which decides differently each time: two runs have the same arch and the same weights."""
    text = definition(begun, constraints={"params": 12_000}, weights=weights)
    alone = run_job(jobs.create(text))
    run = jobs.create(text)
    shared = ("supernet",) if weights == "shared" else ()
    for phase in ("search", *shared, "fine-tune", "test", "export", "profile", "publish"):
        with pytest.raises(KeyboardInterrupt), jobs.hold(run):
            run_job(run, on_status=Interrupt(phase))
        assert (jobs.read(run).state, jobs.read(run).phase) == ("stopped", phase)
    done = run_job(run)
    assert (done.state, done.best.arch, done.test_acc) == ("done", alone.best.arch, alone.test_acc)
    weights = [store.resolve(status.published).package.path / "weights.safetensors" for status in (alone, done)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"constraints": {}}, "constraints = {}"),
        ({"constraints": {"latency_ms": 3, "latency_share": 0.5}}, "has latency_ms and latency_share"),
        ({"constraints": {"latency_share": 1.5}}, "latency_share = 1.5 is a share of the whole"),
        (
            {"strategy": {"name": "RegularisedEvolution"}},
            "no strategy is called 'RegularisedEvolution'. .*RegularizedEvolution",
        ),
        ({"strategy": {"name": "DARTS"}}, "strategy.name = DARTS: the shared weights begin as those of the model"),
        ({"space": {"name": "ProxylessNAS"}}, "it has start and space"),
        ({"recipe": {"epochs": 1}}, "recipe.epochs = 1: at least 2"),
        ({"weights": "shared", "budget": {"start_share": 0}}, "budget.start_share = 0: shared weights have to be trained"),
        ({"weights": "inherited"}, "weights = 'inherited' is not one of fitted, shared"),
        ({"recipe": {"epochs": 4, "devices": 2}}, "recipe.devices = 2: a search for a smaller network trains on one device"),
        ({"start": {"model": "efficientnet-lite9"}}, r"start\.model: 'efficientnet-lite9' is no .*efficientnet-lite0"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_trained(begun, changes, message):
    with pytest.raises(JobError, match=message):
        resolve_job(jobs.parse_job(definition(begun, **changes), where="it"), where=Path.cwd())


def test_the_facts_of_a_check(begun):
    facts = resolve_job(jobs.parse_job(definition(begun), where="it"), where=Path.cwd()).facts()
    assert facts["constraints"] == "latency_share <= 0.95"
    assert facts["space"].endswith("archs no larger than that of small")
