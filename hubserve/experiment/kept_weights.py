"""`KeptWeights`, which deletes the weights of finished trials that are not among the best."""

from pathlib import Path

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from hubserve.experiment.top_models import best_first
from hubserve.space import ModelSpace
from hubserve.training.trial_weights import WEIGHTS_FILE


class KeptWeights:
    """Deletes the weights files of finished trials that are not among the best, each time a trial ends.

    Only trials that still have weights are compared, so the time for each trial does not grow with the study. Nothing is
    deleted while at most `keep` trials have weights, even if some of them failed.

    Args:
        study: The study of the trials.
        space: The space of their archs.
        folder: Folder with a subfolder for each trial, named by its number.
        keep: Number of the best archs of which the best trial keeps its weights. Trials on the Pareto front keep theirs as
            well.
    """

    def __init__(self, study: Study, space: ModelSpace, folder: Path, keep: int) -> None:
        self._signs = [1 if direction.name == "MAXIMIZE" else -1 for direction in study.directions]
        self._space = space
        self._folder = folder
        self._keep = keep
        self._trials: dict[int, FrozenTrial] = {}
        self._front: dict[int, list[float]] = {}
        there = {int(path.parent.name) for path in folder.glob(f"*/{WEIGHTS_FILE}")}
        for trial in study.get_trials(deepcopy=False):
            if trial.number in there and trial.state.is_finished():
                self._add(trial)

    def update(self, trial: FrozenTrial) -> None:
        """Registers a trial that has ended, and deletes the weights of trials that are no longer among the best.

        A trial without weights changes nothing.
        """
        if not self._file(trial.number).exists():
            return
        self._add(trial)
        if len(self._trials) <= self._keep:
            return
        complete = [trial for trial in self._trials.values() if trial.state is TrialState.COMPLETE]
        best = best_first(complete, self._space, sign=self._signs[0], front=self._front)[: self._keep]
        for number in self._trials.keys() - self._front.keys() - {trial.number for trial in best}:
            self._file(number).unlink(missing_ok=True)
            del self._trials[number]

    def _add(self, trial: FrozenTrial) -> None:
        self._trials[trial.number] = trial
        if trial.state is not TrialState.COMPLETE:
            return
        scores = [sign * value for sign, value in zip(self._signs, trial.values, strict=True)]
        if not any(_dominates(other, scores) for other in self._front.values()):
            self._front = {number: other for number, other in self._front.items() if not _dominates(scores, other)}
            self._front[trial.number] = scores

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06d}" / WEIGHTS_FILE


def _dominates(first: list[float], second: list[float]) -> bool:
    """Returns whether `first` is at least as large as `second` in every element and larger in one."""
    return first != second and all(a >= b for a, b in zip(first, second, strict=True))
