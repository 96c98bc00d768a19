"""Jobs with one-shot strategies: shared weights are trained, their progress is reported, and served where nobody retrains."""

from __future__ import annotations

import itertools

import pytest
import torch
from safetensors.torch import load_file

from hubserve import jobs
from hubserve.errors import JobError
from hubserve.jobs import JobStatus
from hubserve.package.package import read_package
from hubserve.pipeline import check_definition, resolve_job, run_job
from hubserve.pipeline.plots import draw_all
from hubserve.pipeline.status_writer import one_shot_view
from hubserve.pipeline.strategies import ENDS_IN_SUPERNET
from hubserve.strategy.named_strategies import ONE_SHOT
from tests.pipeline.definitions import short

PENALTY = {"profiler": "params", "baseline": 20000, "scale": 0.01}
DARTS = {"name": "DARTS", "arguments": {"arc_learning_rate": 0.05, "log_prob_every_n_step": 1, "penalty": PENALTY}}
SPOS = {"name": "RandomOneShot", "then": {"name": "Random"}}


class Interrupt:
    """Ctrl-C at the first message of a phase for which `when` holds."""

    def __init__(self, phase: str, when=lambda status: True) -> None:
        self.phase, self.when = phase, when

    def __call__(self, status: JobStatus) -> None:
        if status.phase == self.phase and status.state == "running" and self.when(status):
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def found_by_darts(tmp_path_factory):
    """The run of a DARTS job that keeps the shared weights, and all that it reported."""
    reported: list[JobStatus] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr("hubserve.pipeline.status_writer.PAUSE_SECONDS", 0.0)
        run = jobs.create(short(strategy=DARTS, recipe={"epochs": 2}, budget={}, retrain=None, publish=None))
        run_job(run, on_status=reported.append, draw=draw_all)
    return run, reported


@pytest.mark.slow
class TestDarts:
    def test_supernet_first(self, found_by_darts):
        _, reported = found_by_darts
        phases = [phase for phase, _ in itertools.groupby(status.phase for status in reported) if phase is not None]
        assert phases == ["supernet", "search", "test", "export", "profile"]
        assert any(status.message.startswith("epoch 2 of 2, loss ") for status in reported)

    def test_probabilities_over_time(self, found_by_darts):
        run, _ = found_by_darts
        view = jobs.read(run).oneshot
        assert view.steps == sorted(view.steps)
        assert len(view.steps) == len(view.loss) > 2
        assert len(view.labels) == 6
        for found in view.labels.values():
            assert len(found.probabilities) == len(view.steps)
            assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in found.probabilities)
            assert found.probabilities[0] != found.probabilities[-1]
        assert view.cost_r2 == pytest.approx(1.0, abs=1e-3)

    def test_the_likeliest_arch_is_the_winner(self, found_by_darts):
        run, _ = found_by_darts
        status = jobs.read(run)
        last = {label: found.probabilities[-1] for label, found in status.oneshot.labels.items()}
        likeliest = {label: status.oneshot.labels[label].candidates[row.index(max(row))] for label, row in last.items()}
        assert status.best.arch == likeliest
        assert status.plots == ["best", "confusion", "probabilities"]

    def test_the_shared_weights_are_served(self, found_by_darts):
        run, _ = found_by_darts
        package = read_package(run.path / "package")
        assert package.manifest.provenance.weights == "shared"
        assert "search-probabilities.svg" in package.manifest.files
        (kept,) = (run.path / "search" / "trials").glob("*/weights.safetensors")
        trained, served = load_file(kept), load_file(package.path / "weights.safetensors")
        assert all(torch.equal(trained[name], served[name]) for name in served)


@pytest.mark.slow
def test_spos_goes_on_after_a_stop_in_either_half(home, monkeypatch):
    monkeypatch.setattr("hubserve.pipeline.status_writer.PAUSE_SECONDS", 0.0)
    run = jobs.create(short(strategy=SPOS, recipe={"epochs": 3}, budget={"trials": 3}, retrain=None, publish=None))
    for interrupt in (
        Interrupt("supernet", lambda status: "epoch 3" in status.message),
        Interrupt("search", lambda status: status.trials == 2),
        Interrupt("export"),
    ):
        with pytest.raises(KeyboardInterrupt):
            run_job(run, on_status=interrupt)
    status = jobs.read(run)
    assert (status.phase, status.trials, status.best.number in (0, 1, 2)) == ("export", 3, True)
    assert [row.number for row in status.history] == [0, 1, 2]
    # An epoch of 17 steps is reported whole, though the supernet was trained in two sittings.
    assert status.oneshot.steps[-1] == 3 * 17 - 1
    assert status.oneshot.labels == {}
    winner = (run.path / "winner.json").read_text()
    assert winner.count('"shared"') == 1
    assert winner.count('"val_acc before recalibration"') == 1


def test_a_image_needs_rows_that_tell_all():
    rows = [{"step": i, "train_loss": 1.0, "probabilities": {"a": {"x": 0.5, "y": 0.5}}} for i in range(3)]
    assert one_shot_view(rows).labels["a"].candidates == ["x", "y"]
    assert one_shot_view([*rows, {"step": 3, "probabilities": {"b": {"x": 1.0}}}]).labels == {}
    assert one_shot_view([]).steps == []


@pytest.mark.parametrize("name", ONE_SHOT)
def test_every_one_shot_strategy_can_be_named(name):
    searched = name in ENDS_IN_SUPERNET
    strategy = {"name": name} | ({"then": {"name": "TPE"}} if searched else {})
    check_definition(jobs.parse_job(short(strategy=strategy, budget={"trials": 2} if searched else {}), where="it"))


ALONE = {"strategy": DARTS, "budget": {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"strategy": {"name": "RandomOneShot"}},
            "^strategy.then: RandomOneShot ends in a supernet: name the strategy that searches it",
        ),
        ({"strategy": {"name": "DARTS", "then": {"name": "TPE"}}}, "^strategy.then: DARTS ends in an arch: leave it out"),
        (
            {"strategy": {"name": "RandomOneShot", "then": {"name": "TPF"}}},
            "^strategy.then.name: no strategy is called 'TPF'. Did you mean TPE",
        ),
        ({"strategy": {"name": "DARTZ"}}, "^strategy.name: no strategy is called 'DARTZ'. Did you mean DARTS"),
        ({"strategy": {"name": "DARTS", "arguments": {"order": 3}}}, "^strategy.arguments: .*order"),
        ({"strategy": {"name": "DARTS", "arguments": {"lr": 1}}}, "^strategy.arguments.lr: DARTS has no such argument"),
        (ALONE | {"budget": {"trials": 5}}, "^budget.trials = 5: DARTS tries no archs one by one.*leave trials out"),
        (
            ALONE | {"executor": {"kind": "processes"}},
            "^executor.kind = processes: DARTS trains one supernet.*leave executor",
        ),
        ({"strategy": SPOS, "executor": {"kind": "ray"}}, "^executor.kind = ray: RandomOneShot trains one supernet"),
        (
            {"strategy": SPOS | {"then": {"name": "RegularizedEvolution"}}, "objectives": ["val_acc", "params"]},
            "^objectives: val_acc, params: strategy.then = RegularizedEvolution improves one score",
        ),
    ],
)
def test_what_does_not_go_together(changes, message):
    with pytest.raises(JobError, match=message):
        check_definition(jobs.parse_job(short(**changes), where="it"))


def on_two(**changes):
    """A job whose supernet two processes train."""
    given = {
        "strategy": SPOS,
        "recipe": {"epochs": 2, "batch_size": 32, "devices": 2},
        "budget": {"trials": 1},
        "publish": None,
    }
    return short(**given | changes)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_train_a_supernet(home, monkeypatch):
    """It is stopped after an epoch; what goes on is the training of two processes."""
    monkeypatch.setattr("hubserve.pipeline.status_writer.PAUSE_SECONDS", 0.0)
    run = jobs.create(on_two(retrain=None))
    with pytest.raises(KeyboardInterrupt):
        run_job(run, on_status=Interrupt("supernet", lambda status: "epoch 2" in status.message))
    run_job(run)
    status = jobs.read(run)
    # An epoch of one process has 17 steps of 64 images: two have as many images in each step.
    assert (status.state, status.oneshot.steps[-1]) == ("done", 2 * 17 - 1)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_processes_train_the_winner(home, monkeypatch):
    pytest.importorskip("lightning_fabric", reason="the winner is trained on several devices with hubserve[ddp]")
    monkeypatch.setattr("hubserve.pipeline.status_writer.PAUSE_SECONDS", 0.0)
    run = jobs.create(short(budget={"trials": 1}, publish=None, retrain={"epochs": 3, "batch_size": 32, "devices": 2}))
    reported: list[JobStatus] = []
    run_job(run, on_status=reported.append)
    messages = [status.message for status in reported if status.phase == "retrain"]
    told = [message.partition(":")[0] for message in messages if ": val_acc" in message]
    assert list(dict.fromkeys(told)) == [f"epoch {i} of 3" for i in (1, 2, 3)]
    assert (run.path / "retrained" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"strategy": {"name": "Random"}},
            "^recipe.devices = 2: Random trains the network of each trial on one device; leave it out. executor: .kind: "
            "processes, workers: 2. runs 2 trials at the same time, and retrain.devices",
        ),
        (
            {"strategy": DARTS, "budget": {}},
            "^recipe.devices = 2: DARTS trains its supernet on one device; RandomOneShot follows devices, and retrain.devices",
        ),
    ],
)
def test_devices_are_refused_where_one_trains(changes, message):
    with pytest.raises(JobError, match=message):
        check_definition(jobs.parse_job(on_two(**changes), where="it"))


def test_more_devices_than_gpus_are_refused_before_anything_runs(home, monkeypatch):
    """Only what torch says of GPUs is made up."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(JobError, match=r"^recipe: devices = 2, and torch finds 1 CUDA devices"):
        resolve_job(jobs.parse_job(on_two(), where="it"), where=home)
