"""Which trials keep their trained weights on disk: the best ones."""

from pathlib import Path

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from hubserve.experiment.top_models import best_first
from hubserve.space import ModelSpace
from hubserve.training.weights_file import WEIGHTS_FILE


class KeptWeights:
    """Deletes the weights of finished trials that are not among the best, as trials end.

    It looks only at trials that still have weights, so the cost of a trial does not grow with the study.

    Args:
        study: Study of the trials.
        space: Space that their archs belong to.
        folder: Folder with a folder for each trial, named by its number.
        keep: Number of archs of which the best trial keeps its weights; trials on the Pareto front keep theirs as well.
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
        """Takes in a trial that ended; deletes weights that are no longer among the best."""
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
    """Whether `first` is nowhere smaller than `second` and differs from it."""
    return first != second and all(a >= b for a, b in zip(first, second, strict=True))
