"""What trials on other machines write and report comes back; an executor of this process stands in for such machines."""

from __future__ import annotations

from pathlib import Path

import cloudpickle
import optuna
import pytest

from hubserve.errors import ExperimentError
from hubserve.evaluator import Evaluator, Objective
from hubserve.experiment import InlineExecutor, NasExperiment
from hubserve.experiment.executors import reaches_other_machines
from hubserve.experiment.returned_files import write_returned
from hubserve.strategy import Random
from tests.experiment.small import SHAPE, Small, value


class Elsewhere(InlineExecutor):
    """Sends what a task needs and gives as bytes, as if another machine ran it."""

    shares_memory = False
    other_machines = True

    def __init__(self, missing: dict[str, list[Path]] | None = None) -> None:
        self._missing = missing or {}

    def machines_without(self, paths):
        return self._missing

    def submit(self, function, /, *args):
        call = cloudpickle.dumps((function, args))

        def run():
            sent, arguments = cloudpickle.loads(call)
            return cloudpickle.loads(cloudpickle.dumps(sent(*arguments)))

        return super().submit(run)


class Writing(Evaluator):
    """Writes two files and reports twice; the third trial fails after that."""

    def evaluate(self, space, arch, trial):
        (trial.folder / "logs").mkdir(parents=True)
        (trial.folder / "weights.safetensors").write_bytes(bytes([trial.number]))
        (trial.folder / "logs" / "place").write_text(str(trial.folder))
        trial.report(0, 0.5)
        trial.report(1, float(trial.number))
        if trial.number == 2:
            raise ValueError("as meant")
        return {"default": value(arch)}


def experiment(folder: Path, executor=None, **settings) -> NasExperiment:
    return NasExperiment(
        Small(), Writing(), Random(seed=1), folder=folder, executor=executor or Elsewhere(), max_trials=4, seed=1, **settings
    )


def test_files_and_reports_come_back(tmp_path):
    search = experiment(tmp_path / "search")
    search.run()
    assert [record.state for record in search.trials] == ["complete", "complete", "failed", "complete"]
    for record in search.trials:
        assert (record.folder / "weights.safetensors").read_bytes() == bytes([record.number])
        # It was evaluated in another folder, which is gone.
        assert not Path((record.folder / "logs" / "place").read_text()).exists()
    reported = [trial.intermediate_values for trial in search.study.trials]
    assert reported == [{0: 0.5, 1: float(number)} for number in range(4)]


def test_the_study_is_not_sent(tmp_path, monkeypatch):
    """Opening its file on a machine that does not have the folder would fail."""
    search = experiment(tmp_path)
    monkeypatch.setattr(type(search.study._storage), "__getstate__", lambda self: pytest.fail("it was pickled"))
    search.run()
    assert len(search.export_data()) == 3


def test_several_objectives_have_no_reports(tmp_path):
    search = experiment(tmp_path, objectives=(Objective("default"), Objective("params", "minimize")), input_shape=SHAPE)
    search.run()
    assert [trial.intermediate_values for trial in search.study.trials] == [{}] * 4
    assert len(search.export_data()) == 3


@pytest.mark.parametrize("storage", [None, "sqlite"])
def test_a_pruner_needs_the_file_of_the_study_everywhere(tmp_path, storage):
    place = storage and f"sqlite:///{tmp_path / 'study.db'}"
    missing = {"other (10.0.0.2)": [tmp_path / "study"]}
    pruned = {"pruner": optuna.pruners.ThresholdPruner(lower=-1), "storage": place}
    with pytest.raises(ExperimentError, match=r"machine other \(10.0.0.2\) has no .*study.*postgresql"):
        experiment(tmp_path, Elsewhere(missing), **pruned).run()
    search = experiment(tmp_path, Elsewhere(), **pruned)
    search.run()
    assert [trial.intermediate_values for trial in search.study.trials] == [{0: 0.5, 1: float(number)} for number in range(4)]


def test_a_file_outside_of_the_folder_is_refused(tmp_path):
    for name in ("../x", "/etc/x", "a/../../x"):
        with pytest.raises(ExperimentError, match="not in its folder"):
            write_returned({name: b""}, tmp_path / "trial")
    assert not (tmp_path / "x").exists()


def test_executors_of_one_machine():
    assert not reaches_other_machines(InlineExecutor())
    assert reaches_other_machines(Elsewhere())
