"""`EpochPruner`, which asks an Optuna pruner after the epochs of a trial."""

import copy

from optuna import Study
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial


class EpochPruner(BasePruner):
    """Asks an Optuna pruner whether a trial should end, for trials that report a value after each epoch, from step 0.

    It differs from the pruner alone in three ways. For successive halving and Hyperband, whose resources are epochs, the first
    epoch counts as 1 and not as 0: with `min_resource=1` trials are compared after their first epoch. A trial is not ended
    after its last epoch, when nothing is left to save. And strategies see all trials of a study: with an
    `optuna.pruners.HyperbandPruner`, Optuna shows samplers only those of the trial's bracket, so that they would propose an
    arch once for each bracket.

    Args:
        pruner: The pruner that is asked.
        epochs: Number of epochs of a trial that is not ended early; None if it is not known, and then a trial may also be ended
            after its last epoch.
    """

    def __init__(self, pruner: BasePruner, *, epochs: int | None = None) -> None:
        self._pruner = pruner
        self._epochs = epochs

    def __repr__(self) -> str:
        return f"EpochPruner({type(self._pruner).__name__}, epochs={self._epochs})"

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or (self._epochs is not None and step + 1 >= self._epochs):
            return False
        if isinstance(self._pruner, SuccessiveHalvingPruner | HyperbandPruner):
            trial = copy.copy(trial)
            trial.intermediate_values = {step + 1: value for step, value in trial.intermediate_values.items()}
        return self._pruner.prune(study, trial)
