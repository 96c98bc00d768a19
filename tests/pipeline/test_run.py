"""A job from the definition to a model that classifies: really searched, trained, exported and published."""

from __future__ import annotations

import io
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from hubserve import jobs, store
from hubserve.data.named_datasets import load_dataset
from hubserve.errors import JobError, NothingFeasibleError
from hubserve.evaluator import Classification
from hubserve.export.rebuild_model import rebuild_model
from hubserve.jobs import JobStatus, Run
from hubserve.latency.arch_latency import sure_median
from hubserve.package.package import read_package
from hubserve.pipeline import ResolvedJob, resolve_job, run_here, run_job
from hubserve.pipeline.phases import choose_winner, profile, publish, search
from hubserve.pipeline.phases.search import SearchProgress, make_experiment
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.service.engine import Engine
from tests.data.made_folders import make
from tests.pipeline.definitions import short
from tests.stores import store_at


@pytest.fixture
def package(finished):
    run, _, home = finished
    with store_at(home):
        return store.resolve(jobs.read(run).published).package


class TestFinished:
    def test_its_status(self, finished):
        run, _, home = finished
        status = jobs.read(run)
        assert (status.state, status.phase, status.error, status.trials) == ("done", "publish", None, 2)
        assert [objective.name for objective in status.objectives] == ["val_acc", "latency_ms"]
        assert sum(row.state == "complete" for row in status.history) == 2
        assert all(set(row.values) >= {"val_acc", "latency_ms", "params"} for row in status.history if row.state == "complete")
        assert status.best.number in status.pareto
        assert status.plots == ["best", "confusion", "pareto"]
        assert status.published.startswith("short:")
        assert status.test_acc == json.loads((run.path / "test.json").read_text())["test_acc"]
        with store_at(home):
            assert [model.tag for model in store.list_models()] == [status.published]

    def test_the_phases_came_in_order(self, finished):
        _, reported, _ = finished
        phases = [phase for phase, _ in itertools.groupby(status.phase for status in reported) if phase is not None]
        assert phases == ["search", "retrain", "test", "export", "profile", "publish"]
        assert reported[0].state == "running"
        assert [status.trials for status in reported] == sorted(status.trials for status in reported)
        assert any("epoch 3 of 6" in status.message and status.eta_seconds > 0 for status in reported)

    def test_where_the_model_came_from(self, finished, package):
        run, _, _ = finished
        status, provenance = jobs.read(run), package.manifest.provenance
        assert (provenance.origin, provenance.weights) == ("search", "retrained")
        found = provenance.search
        assert (found["job"], found["run"], found["seed"], found["split"]) == ("short", run.id, 5, "validation")
        assert found["trial"] == status.best.number
        assert found["scores"]["val_acc"] == status.best.values["val_acc"]
        assert found["constraints"] == {"params": 40000.0, "latency_ms": 50.0}
        assert found["trials"] == 2
        assert provenance.metric.dataset == "digits (test)"
        assert provenance.metric.top1 == pytest.approx(100 * found["test_acc"], abs=1e-3)

    def test_the_score_is_that_of_the_served_network_on_the_test_part(self, package):
        """Computed again from the package: its own module, and images that neither search nor training has seen."""
        data = load_dataset("digits", size=16, augment=False)
        again = Classification(train_dataloaders=data.train, val_dataloaders=data.test).validate(rebuild_model(package))
        assert again["val_acc"] == pytest.approx(package.manifest.provenance.search["test_acc"])
        assert again["val_acc"] > 0.9

    def test_it_classifies_digits_as_people_send_them(self, package):
        """8 x 8 or larger, grey or in colour, from bytes of a PNG through the engine of the service."""
        engine = Engine(package)
        digits = load_digits()
        right = []
        for place, (mode, size) in itertools.product(range(0, 200, 5), (("L", 8), ("RGB", 64))):
            image = Image.fromarray((digits.images[place] * 255 / 16).astype(np.uint8)).convert(mode).resize((size, size))
            file = io.BytesIO()
            image.save(file, "PNG")
            right.append(engine.classify(file.getvalue()).predictions[0].label == str(digits.target[place]))
        assert np.mean(right) > 0.9

    def test_the_package_says_how_fast_it_is_and_shows_the_search(self, package):
        package.verify()
        assert {row["format"] for row in package.profile["formats"]} >= {"onnx"}
        assert {"search-best.svg", "search-pareto.svg"} <= set(package.manifest.files)
        assert list(package.manifest.exports) == ["onnx"]

    def test_it_meets_its_constraint_when_it_is_measured_again(self, finished, package):
        run, _, _ = finished
        resolved = resolved_of(run)
        assert sure_median(resolved.latency().time(lambda: package.runner("onnx"))) <= 50

    @pytest.mark.parametrize("found", [(60.0, 51.0, 50.0), (60.0, 51.0, 52.0, 53.0, 54.0)])
    def test_it_is_measured_again_where_the_machine_was_busy(self, finished, package, monkeypatch, found):
        """Other work makes a network slower, never faster, so one measurement within the limit is enough."""
        run, _, home = finished
        measured = iter(found)
        monkeypatch.setattr(publish, "PAUSE_SECONDS", 0)
        monkeypatch.setattr(publish, "_latency_ms", lambda *_: next(measured))
        with store_at(home):
            fresh = jobs.create(short())
            arguments = resolved_of(run), package, fresh, StatusWriter(fresh, lambda status: None, None)
            if len(found) < publish.ATTEMPTS:
                assert publish.publish(*arguments) == jobs.read(run).published
            else:
                with pytest.raises(NothingFeasibleError, match=r"takes 51 ms in the fastest of 5 measurements"):
                    publish.publish(*arguments)
            assert next(measured, None) is None
            jobs.delete(fresh)

    def test_running_it_again_publishes_nothing_twice(self, finished):
        run, _, home = finished
        before = jobs.read(run).published
        with store_at(home), jobs.hold(run):
            assert run_job(run).published == before
            assert len(store.list_models()) == 1


def resolved_of(run: Run) -> ResolvedJob:
    return resolve_job(jobs.parse_job(run.definition(), where="it"), where=run.where)


class Interrupt:
    """Ctrl-C as soon as a phase has something to tell."""

    def __init__(self, phase: str) -> None:
        self.phase = phase

    def __call__(self, status: JobStatus) -> None:
        if status.phase == self.phase and status.state == "running":
            raise KeyboardInterrupt


@pytest.mark.slow
def test_interrupted_at_every_phase_it_goes_on_and_publishes_once(home):
    run = jobs.create(short())
    for phase in ("search", "retrain", "test", "export", "profile", "publish"):
        with pytest.raises(KeyboardInterrupt), jobs.hold(run):
            run_job(run, on_status=Interrupt(phase))
        status = jobs.read(run)
        assert (status.state, status.phase) == ("stopped", phase)
        assert f"hubserve search --run {run.path}" in status.error
        assert store.list_models() == []
    done = run_job(run)
    assert (done.state, done.trials) == ("done", 2)
    assert [model.tag for model in store.list_models()] == [done.published]
    assert done.seconds > 0


def test_nothing_small_enough(home):
    run = jobs.create(short(constraints={"params": 100}, budget={"trials": 2, "seconds": 1.0}))
    with pytest.raises(NothingFeasibleError, match=r"params = \d+ misses params <= 100 by [\d.]+%"):
        run_job(run)
    status = jobs.read(run)
    assert status.state == "failed"
    assert "othing was published" in status.error
    assert {row.state for row in status.history} == {"infeasible"}
    (refused,) = status.refusals
    assert (refused.constraint, refused.refused) == ("params <= 100", len(status.history))
    least = min(row.values["params"] for row in status.history) / 100 - 1
    assert (refused.least, max(status.closest.values["params"] / 100 - 1, 0)) == (pytest.approx(least), pytest.approx(least))
    assert f"trial {status.closest.number}: params = " in status.error
    assert store.list_models() == []
    assert not (run.path / "package").exists()


@pytest.mark.slow
def test_after_a_fault_it_goes_on_and_the_weights_of_the_trial_are_kept(home, monkeypatch):
    """No retraining, and nothing published: the package stays in the run folder."""

    def broken(*_: object) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(profile, "add_profile", broken)
    run = jobs.create(short(retrain=None, budget={"trials": 1}, publish=None))
    with pytest.raises(RuntimeError):
        run_job(run)
    status = jobs.read(run)
    assert (status.state, status.phase) == ("failed", "profile")
    assert status.error.startswith("RuntimeError: the disk is gone; `hubserve search --run")
    monkeypatch.undo()
    status = run_job(run)
    assert (status.state, status.published) == ("done", None)
    package = read_package(run.path / "package")
    assert package.manifest.provenance.weights == "trial"
    (kept,) = (run.path / "search" / "trials").glob("*/weights.safetensors")
    trained, served = load_file(kept), load_file(package.path / "weights.safetensors")
    assert set(trained) == set(served)
    assert all(torch.equal(trained[name], served[name]) for name in trained)


class TestChoice:
    """Who is chosen where a second measurement says something else; only the measurement is made up."""

    @pytest.fixture
    def searched(self, home, monkeypatch):
        monkeypatch.setattr(ResolvedSearch, "latency", lambda self: lambda space, arch: {"latency_ms": 1.0})
        run = jobs.create(short(constraints={"latency_ms": 50}, budget={"trials": 3}))
        resolved = resolved_of(run)
        experiment = make_experiment(resolved, run, SearchProgress(StatusWriter(run, lambda status: None, None)))
        experiment.run()
        return experiment, resolved

    def test_the_best_that_still_meets_the_limit(self, searched, monkeypatch):
        experiment, resolved = searched
        best, second, _ = experiment.top_trials(3)
        monkeypatch.setattr(choose_winner, "measure_again", lambda resolved, arch: 60.0 if arch == best.arch else 40.0)
        chosen = choose_winner.choose_winner(experiment, resolved)
        assert (chosen.number, chosen.scores["latency_ms"]) == (second.number, 40.0)
        monkeypatch.setattr(choose_winner, "measure_again", lambda resolved, arch: 60.0 + len(repr(arch)))
        with pytest.raises(NothingFeasibleError, match=r"of 3 candidates none meets latency_ms <= 50 when measured again"):
            choose_winner.choose_winner(experiment, resolved)


@pytest.mark.parametrize(
    ("states", "advice"),
    [
        (["failed"] * 3, "correct what the failure says; a longer search would fail in the same way"),
        (["failed", "pruned"], "correct what the failure says; a longer search would fail in the same way"),
        (
            ["failed", "infeasible"],
            "correct .* same way; or allow more under constraints, or choose other settings of the space",
        ),
        (["infeasible"], "allow more under constraints, or choose other settings of the space"),
        (["pruned", "running"], "search longer"),
        ([], "search longer"),
    ],
)
def test_what_to_do_where_no_trial_has_a_score(states, advice):
    trials = [SimpleNamespace(state=state, reason="DatasetError: cat/1.png is no image") for state in states]
    experiment = SimpleNamespace(trials=trials, stop_reason="2 trials were evaluated", top_trials=lambda most: [])
    with pytest.raises(NothingFeasibleError, match=f"Nothing was published: {advice}$") as found:
        choose_winner.choose_winner(experiment, None)
    failed = states.count("failed")
    said = f"; {failed} trials failed, the last one: DatasetError: cat/1.png is no image"
    assert (said in str(found.value)) == (failed > 0)


@pytest.mark.slow
def test_where_all_trials_failed_on_one_bad_file_the_advice_is_not_to_search_longer(home, tmp_path, monkeypatch):
    """The file becomes unreadable after the images were checked, and is put back."""
    root = make(tmp_path / "mine", {f"{part}/{name}": 8 for part in ("train", "val", "test") for name in ("cat", "dog")})
    data = {"name": "folder", "folder": str(root), "settings": {"size": 16, "augment": False}}
    run = jobs.create(short(data=data, recipe={"epochs": 1}, retrain=None, publish=None))
    with pytest.raises(KeyboardInterrupt):
        run_job(run, on_status=Interrupt("search"))
    bad = root / "val" / "cat" / "003.png"
    whole = bad.read_bytes()
    real = search.make_experiment

    def after_the_check(*arguments):
        bad.write_bytes(b"no image")
        return real(*arguments)

    monkeypatch.setattr(search, "make_experiment", after_the_check)
    with pytest.raises(NothingFeasibleError, match=r"val/cat/003\.png.* Nothing was published: correct what the failure says"):
        run_job(run)
    assert "search longer" not in jobs.read(run).error
    bad.write_bytes(whole)


def test_data_that_cannot_be_used_end_a_run_as_refused(home):
    """Nothing was run, and nothing can go on; it stays with the sentence as its error."""
    run = jobs.create(short(data={"name": "digits", "settings": {"size": 18}}))
    with pytest.raises(JobError, match="does not take images of 18 pixels"):
        run_here(run)
    status = jobs.read(run)
    assert (status.state, status.phase, status.trials) == ("refused", None, 0)
    assert status.error.startswith("data: NasBench201 does not take images of 18 pixels")
    assert status.state in jobs.FINAL


def test_a_job_file_that_was_made_invalid_ends_a_run_as_refused(home):
    run = jobs.create(short())
    (run.path / "job.yaml").write_text("name: short\n")
    with pytest.raises(JobError, match="space is missing"):
        run_here(run)
    assert jobs.read(run).state == "refused"


def test_the_status_says_which_format_was_left_out(home, monkeypatch):
    monkeypatch.setattr("hubserve.package.formats.PYTHON", (3, 14))
    run = jobs.create(short(publish={}))
    with pytest.raises(KeyboardInterrupt):
        run_job(run, on_status=Interrupt("search"))
    assert jobs.read(run).notes == ["torchscript is not exported: PyTorch does not support TorchScript on Python 3.14"]
