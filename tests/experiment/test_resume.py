"""kill -9 at any moment: no finished trial is lost, none is doubled, and the history is that of a search left alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from random import Random as Rng

import pytest

from hubserve.evaluator import Evaluator
from hubserve.experiment import NasExperiment
from hubserve.experiment.executors import InlineExecutor
from hubserve.strategy import TPE, PolicyBasedRL, RegularizedEvolution
from tests.experiment.small import Small, value

# Forked, not started afresh: a kill costs no import of torch.
CONTEXT = multiprocessing.get_context("fork")


class Logged(Evaluator):
    """Notes, in a file that outlives the process, which trials began and which ended."""

    def __init__(self, log, seconds=0.004):
        self._log = log
        self._seconds = seconds

    def evaluate(self, space, arch, trial):
        self._note("began", trial)
        time.sleep(self._seconds)
        return {"default": value(arch), "seed": float(trial.seed)}

    def _note(self, what, trial):
        with self._log.open("a") as file:
            file.write(f"{what} {trial.number}\n")


STRATEGIES = {
    "evolution": lambda: RegularizedEvolution(population_size=6, sample_size=3, seed=7),
    "tpe": lambda: TPE(n_startup_trials=6, seed=7),
    "rl": lambda: PolicyBasedRL(samples_per_update=6, seed=7),
}


def experiment(folder, name, storage, trials, **settings):
    return NasExperiment(
        Small(),
        Logged(folder / "log", **settings),
        STRATEGIES[name](),
        name="killed",
        folder=folder,
        storage=storage,
        max_trials=trials,
        seed=5,
    )


def history(search):
    return [(record.number, record.state, record.arch, record.scores) for record in search.trials]


@pytest.mark.parametrize(
    ("name", "sqlite", "trials", "kills"),
    [("evolution", False, 40, 6), ("tpe", False, 30, 3), ("rl", False, 30, 3), ("evolution", True, 10, 2)],
)
def test_the_history_is_that_of_a_search_left_alone(name, sqlite, trials, kills, tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    alone.mkdir()
    killed.mkdir()
    places = {folder: f"sqlite:///{folder}/s.db" if sqlite else None for folder in (alone, killed)}
    undisturbed = experiment(alone, name, places[alone], trials)
    undisturbed.run()

    rng, finished = Rng(name), 0
    for i in range(kills):
        process = CONTEXT.Process(target=lambda: experiment(killed, name, places[killed], trials).run())
        process.start()
        _wait_for(killed / "log", (i + 1) * trials // (kills + 2))
        time.sleep(rng.random() * 0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        now = [
            record.number for record in experiment(killed, name, places[killed], trials).trials if record.state == "complete"
        ]
        assert len(now) == len(set(now)) >= finished
        finished = len(now)

    resumed = experiment(killed, name, places[killed], trials)
    resumed.resume()
    assert history(resumed) == history(undisturbed)
    began = (killed / "log").read_text().split("\n")
    # Each kill can cost one evaluation, that of the trial under way.
    assert trials <= sum(line.startswith("began") for line in began) <= trials + kills


def _wait_for(log, began):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if log.exists() and log.read_text().count("began") >= began:
            return
        time.sleep(0.002)
    raise AssertionError(f"no {began} trials in a minute")


def test_a_trial_that_takes_the_process_down_each_time_is_given_up(tmp_path):
    class Deadly(Evaluator):
        def evaluate(self, space, arch, trial):
            if trial.number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"default": value(arch)}

    def search():
        return NasExperiment(Small(), Deadly(), STRATEGIES["evolution"](), name="deadly", folder=tmp_path, max_trials=6, seed=5)

    for _ in range(3):
        process = CONTEXT.Process(target=lambda: search().run())
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
        Small(), Logged(tmp_path / "log", 0), STRATEGIES["evolution"](), folder=tmp_path, max_trials=20, executor=Four()
    )
    search.run()
    assert [record.number for record in search.trials] == list(range(20))
    assert {record.state for record in search.trials} == {"complete"}
