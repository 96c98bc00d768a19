"""kill -9 at any moment: no finished trial is lost, none is doubled, and the history is that of a search left alone."""

from __future__ import annotations

import os
import signal

import pytest

from hubserve.evaluator import Evaluator
from hubserve.experiment import NasExperiment
from hubserve.experiment.executors import InlineExecutor
from hubserve.strategy import TPE, PolicyBasedRL, RegularizedEvolution
from tests.experiment.killing import FORK, SPAWN, Logged, begun, history, killed_at
from tests.experiment.small import Small, value

STRATEGIES = {
    "evolution": lambda: RegularizedEvolution(population_size=6, sample_size=3, seed=7),
    "tpe": lambda: TPE(n_startup_trials=6, seed=7),
    "rl": lambda: PolicyBasedRL(samples_per_update=6, seed=7),
}
"""All others are killed too, less often: see tests/strategy/conformance.py."""


def experiment(folder, name, storage, trials):
    return NasExperiment(
        Small(),
        Logged(folder / "log", value),
        STRATEGIES[name](),
        name="killed",
        folder=folder,
        storage=storage,
        max_trials=trials,
        seed=5,
    )


def run_experiment(folder, name, storage, trials):
    """For a process that is to be killed."""
    experiment(folder, name, storage, trials).run()


@pytest.mark.parametrize(
    ("name", "sqlite", "trials", "kills"),
    [
        ("evolution", False, 40, 6),
        pytest.param("tpe", False, 30, 3, marks=pytest.mark.slow),
        pytest.param("rl", False, 30, 3, marks=pytest.mark.slow),
        pytest.param("evolution", True, 10, 2, marks=pytest.mark.slow),
    ],
)
def test_the_history_is_that_of_a_search_left_alone(name, sqlite, trials, kills, tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    alone.mkdir()
    killed.mkdir()
    places = {folder: f"sqlite:///{folder}/s.db" if sqlite else None for folder in (alone, killed)}
    undisturbed = experiment(alone, name, places[alone], trials)
    undisturbed.run()

    # Policy gradients: torch refuses to compute them in a forked process once this one may have.
    context, finished = SPAWN if name == "rl" else FORK, 0
    for i in range(kills):
        moment = (i + 1) * trials // (kills + 2)
        killed_at([moment], run_experiment, (killed, name, places[killed], trials), killed / "log", context=context)
        now = [
            record.number for record in experiment(killed, name, places[killed], trials).trials if record.state == "complete"
        ]
        assert len(now) == len(set(now)) >= finished
        finished = len(now)

    resumed = experiment(killed, name, places[killed], trials)
    resumed.resume()
    assert history(resumed) == history(undisturbed)
    # Each kill can cost one evaluation, that of the trial under way.
    assert trials <= begun(killed / "log") <= trials + kills


def test_a_trial_that_takes_the_process_down_each_time_is_given_up(tmp_path):
    class Deadly(Evaluator):
        def evaluate(self, space, arch, trial):
            if trial.number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"default": value(arch)}

    def search():
        return NasExperiment(Small(), Deadly(), STRATEGIES["evolution"](), name="deadly", folder=tmp_path, max_trials=6, seed=5)

    for _ in range(3):
        process = FORK.Process(target=lambda: search().run())
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    resumed = search()
    resumed.resume()
    assert [record.state for record in resumed.trials] == ["complete", "complete", "failed", *["complete"] * 3]
    assert "begun 3 times" in resumed.trials[2].reason


def test_an_interrupt_leaves_the_trial_to_be_run_again(tmp_path):
    class Interrupted(Evaluator):
        again = False

        def evaluate(self, space, arch, trial):
            if trial.number == 3 and not Interrupted.again:
                Interrupted.again = True
                raise KeyboardInterrupt
            return {"default": value(arch)}

    search = NasExperiment(Small(), Interrupted(), STRATEGIES["evolution"](), name="i", folder=tmp_path, max_trials=6)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    assert [record.state for record in search.trials] == ["complete"] * 3 + ["running"]
    search.run()
    assert [record.state for record in search.trials] == ["complete"] * 6


def test_several_workers_lose_nothing_either(tmp_path):
    class Four(InlineExecutor):
        """Holds four trials at once and evaluates the last one first."""

        workers = 4

    search = NasExperiment(
        Small(),
        Logged(tmp_path / "log", value, seconds=0),
        STRATEGIES["evolution"](),
        folder=tmp_path,
        max_trials=20,
        executor=Four(),
    )
    search.run()
    assert [record.number for record in search.trials] == list(range(20))
    assert {record.state for record in search.trials} == {"complete"}
