"""What every strategy must do; another strategy is tested by a subclass.

>>> class TestMine(StrategyConformance):
...     def make(self, seed):
...         return MyStrategy(seed=seed)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
from torch import nn

from hubserve.errors import ArchError, SpaceExhausted
from hubserve.evaluator import Objective
from hubserve.experiment import NasExperiment
from hubserve.hub import SPACES
from hubserve.space import Arch, ModelSpace
from hubserve.strategy import suggest_arch, trial_arch
from tests.experiment.killing import FORK, SPAWN, Logged, begun, history, killed_at

SPACE_INSTANCES = {name: space() for name, space in SPACES.items()}
"""Reading the choices of a space takes a while, so all tests share these."""


@dataclass(frozen=True)
class Small(ModelSpace):
    """Eleven archs: a choice under a condition, a list, and a rule that refuses one in twelve."""

    def build(self, pick):
        kind = pick.layer("kind", {"skip": nn.Identity, "conv": lambda: nn.Conv2d(3, 3, pick("ks", (1, 3, 5)))})
        return nn.Sequential(kind, nn.Conv2d(3, len(pick.inputs("in", 3, n_chosen=1)), 1))

    def check(self, arch):
        if arch["kind"] == "skip" and arch["in"] == [2]:
            raise ArchError("skip and input 2 do not go together")

    def count(self):
        return 11


def archs_of(study: optuna.Study, space: ModelSpace) -> list[Arch]:
    return [trial_arch(trial, space) for trial in study.get_trials(deepcopy=False) if trial.params]


def key(arch: Arch) -> str:
    return repr(sorted(arch.items()))


def run_experiment(conformance: StrategyConformance, folder: Path, log: Path) -> None:
    """For a process that is to be killed."""
    conformance._experiment(folder, log).run()


class StrategyConformance:
    """Subclass it, define `make`, and say what the strategy cannot do."""

    objectives = 1
    stateless = True
    """Whether a resumed study goes on as if it had not been interrupted."""
    never_repeats = False
    """Whether it proposes no arch twice, and so ends."""
    trials = 24
    uses_autograd = False
    """Whether it computes gradients: torch refuses that in a forked process once this one has."""

    @property
    def context(self) -> ForkContext | SpawnContext:
        return SPAWN if self.uses_autograd else FORK

    def make(self, seed: int) -> BaseSampler:
        raise NotImplementedError

    def test_is_inside_every_space_of_the_hub(self):
        for name, space in SPACE_INSTANCES.items():
            study = self._study(self.make(0))
            for _ in range(8):
                self._run(study, space)
            for arch in archs_of(study, space):
                assert space.canonical(arch) == arch, f"{name}: {arch}"
            assert len(archs_of(study, space)) == 8

    def test_the_seed_repeats_the_history(self):
        assert self._history(3) == self._history(3)

    def test_another_seed_differs(self):
        assert self._history(3) != self._history(4)

    def test_survives_failed_and_pruned_trials(self):
        study, space = self._study(self.make(0)), SPACE_INSTANCES["NasBench201"]
        for number in range(self.trials):
            self._run(study, space, state=(TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)[number % 3])
        states = Counter(trial.state for trial in study.get_trials())
        assert set(states.values()) == {self.trials // 3}
        assert all(space.canonical(arch) == arch for arch in archs_of(study, space))

    def test_survives_failures_only(self):
        study, space = self._study(self.make(0)), SPACE_INSTANCES["NasBench201"]
        for _ in range(self.trials):
            self._run(study, space, state=TrialState.FAIL)
        assert len(archs_of(study, space)) == self.trials

    def test_goes_on_from_stored_trials_as_if_not_interrupted(self):
        if not self.stateless:
            pytest.skip("keeps a memory of its own")
        space, study = SPACE_INSTANCES["NasBench201"], self._study(self.make(5))
        for _ in range(self.trials // 2):
            self._run(study, space)
        for _ in range(self.trials - self.trials // 2):
            study.sampler = self.make(5)
            self._run(study, space)
        assert list(map(key, archs_of(study, space))) == self._history(5)

    def test_a_search_that_is_killed_goes_on_as_if_not(self, tmp_path):
        """`kill -9` of a process that searches, at three moments; then the end, under the same name."""
        log, kills = tmp_path / "killed" / "log", (3, 10, 17)
        log.parent.mkdir()
        alone = self._experiment(tmp_path / "alone", tmp_path / "log")
        alone.run()
        killed_at(kills, run_experiment, (self, log.parent, log), log, context=self.context)
        left = [entry for entry in history(self._experiment(log.parent, log)) if entry[1] == "complete"]
        assert 0 < len(left) < self.trials
        resumed = self._experiment(log.parent, log)
        assert resumed.resume() == f"{self.trials} trials were evaluated, as many as were asked for"
        assert [record.number for record in resumed.trials] == list(range(self.trials))
        assert all(entry in history(resumed) for entry in left)
        assert all(record.arch == resumed.model_space.canonical(record.arch) for record in resumed.trials)
        # Each kill can cost one evaluation, that of the trial under way.
        assert self.trials <= begun(log) <= self.trials + len(kills)
        if self.stateless:
            assert history(resumed) == history(alone)

    def test_several_trials_at_once(self):
        study, space = self._study(self.make(0)), SPACE_INSTANCES["NasBench201"]
        for _ in range(self.trials // 4):
            begun = [study.ask() for _ in range(4)]
            archs = [suggest_arch(trial, space) for trial in begun]
            for trial, arch in reversed(list(zip(begun, archs, strict=True))):
                study.tell(trial, self._score(arch))
        assert len(archs_of(study, space)) == self.trials
        assert len({key(arch) for arch in archs_of(study, space)}) > self.trials // 3

    def test_goes_from_study_to_study(self):
        strategy = self.make(3)
        for _ in range(2):
            history = self._history_of(strategy)
        if self.stateless:
            assert history == self._history(3)

    def test_ends_where_the_space_is_exhausted(self):
        space, study = Small(), self._study(self.make(0))
        if not self.never_repeats:
            for _ in range(30):
                self._run(study, space)
            assert all(space.canonical(arch) == arch for arch in archs_of(study, space))
            return
        for number in range(space.count()):
            self._run(study, space, state=TrialState.FAIL if number == 4 else TrialState.COMPLETE)
        with pytest.raises(SpaceExhausted):
            self._run(study, space)
        assert len({key(arch) for arch in archs_of(study, space)}) == space.count()

    def test_ends_a_study_that_optimizes(self):
        if not self.never_repeats:
            pytest.skip("may go on for ever")
        space, study = Small(), self._study(self.make(0))
        with pytest.raises(SpaceExhausted):
            study.optimize(lambda trial: self._score(suggest_arch(trial, space)), n_trials=100)
        assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 11 + [TrialState.FAIL]

    def test_is_a_sampler_for_any_study(self):
        study = self._study(self.make(0))

        def objective(trial: optuna.Trial) -> Any:
            kind = trial.suggest_categorical("kind", ("a", "b", "c"))
            width = trial.suggest_int("width", 8, 64, step=8)
            score = width / 64 + (kind == "b")
            return score if self.objectives == 1 else (score, width)

        study.optimize(objective, n_trials=20)
        found = study.get_trials()
        assert len(found) == 20
        assert {trial.params["kind"] for trial in found} <= {"a", "b", "c"}
        assert {trial.params["width"] for trial in found} <= set(range(8, 65, 8))
        assert len({(trial.params["kind"], trial.params["width"]) for trial in found}) > 5

    def _study(self, sampler: BaseSampler) -> optuna.Study:
        return optuna.create_study(directions=["maximize", "minimize"][: self.objectives], sampler=sampler)

    def _run(self, study: optuna.Study, space: ModelSpace, state: TrialState = TrialState.COMPLETE) -> None:
        trial = study.ask()
        arch = suggest_arch(trial, space)
        study.tell(trial, self._score(arch) if state is TrialState.COMPLETE else None, state=state)

    def _score(self, arch: Arch) -> Any:
        """Something that depends on the arch, so that strategies have what to learn from."""
        text = key(arch)
        score = text.count("conv") + len(text) % 7 / 10
        return score if self.objectives == 1 else (score, len(text))

    def _experiment(self, folder: Path, log: Path) -> NasExperiment:
        objectives = (Objective("score"), Objective("length", "minimize"))[: self.objectives]
        return NasExperiment(
            SPACE_INSTANCES["NasBench201"],
            Logged(log, self._score, objectives=objectives),
            self.make(5),
            name="killed",
            folder=folder,
            max_trials=self.trials,
            seed=5,
        )

    def _history(self, seed: int) -> list[str]:
        return self._history_of(self.make(seed))

    def _history_of(self, sampler: BaseSampler) -> list[str]:
        space, study = SPACE_INSTANCES["NasBench201"], self._study(sampler)
        for _ in range(self.trials):
            self._run(study, space)
        return list(map(key, archs_of(study, space)))


class VariantConformance(StrategyConformance):
    """For a strategy that is tested with other settings already: what takes longest is tested with the slow tests."""

    @pytest.mark.slow
    def test_is_inside_every_space_of_the_hub(self):
        super().test_is_inside_every_space_of_the_hub()

    @pytest.mark.slow
    def test_a_search_that_is_killed_goes_on_as_if_not(self, tmp_path):
        super().test_a_search_that_is_killed_goes_on_as_if_not(tmp_path)
