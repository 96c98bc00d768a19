"""All uses of undocumented parts of Optuna; because of them, pyproject.toml bounds Optuna's version."""

import binascii
from collections.abc import Sequence

import numpy as np
import optuna
from optuna import Study
from optuna._hypervolume import compute_hypervolume, get_non_dominated_box_bounds
from optuna.pruners import HyperbandPruner, SuccessiveHalvingPruner
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial

RUNNING_TRIAL_OPERATIONS = frozenset((5, 8, 9))
"""Values of `op_code` in a journal file for records of one running trial: its parameters, user and system attributes."""

CONSTRAINTS = "constraints"
"""System attribute of a trial: a list of numbers, one for each constraint; the trial is feasible if none is above 0."""

TRIAL_STATE_OPERATION = 6
"""Value of `op_code` in a journal file that sets a trial's state and values."""


def storage_of_study(study: Study) -> BaseStorage:
    """Returns the storage of `study`."""
    return study._storage


def sqlite_file(storage: BaseStorage) -> str | None:
    """Returns the path of the SQLite file of `storage`, as its URL has it; None for another storage or SQLite in memory."""
    inner = storage._backend if isinstance(storage, _CachedStorage) else storage
    if not isinstance(inner, RDBStorage) or inner.engine.url.get_backend_name() != "sqlite":
        return None
    path = inner.engine.url.database
    return None if path in (None, "", ":memory:") else path


def trial_id(trial: optuna.Trial) -> int:
    """Returns the id of `trial` in its storage; it differs from the trial's number if the storage holds several studies."""
    return trial._trial_id


def note_on_trial(study: Study, trial: FrozenTrial | optuna.Trial, key: str, value: int | str | list[float]) -> None:
    """Stores a system attribute of a trial that has not ended, as Optuna's samplers do in `after_trial`."""
    study._storage.set_trial_system_attr(trial._trial_id, key, value)


def reopen(study: Study, trial: FrozenTrial) -> optuna.Trial:
    """Returns a running trial of `study` as an `optuna.Trial`, as `study.ask` does, so that another process can continue it."""
    return optuna.Trial(study, trial._trial_id)


def hypervolume(losses: np.ndarray, reference: Sequence[float]) -> float:
    """Returns the volume that points dominate, up to a reference point; every value is to be minimized.

    Args:
        losses: The points, shape (points, objectives). Those that do not dominate or equal the reference point do not count.
        reference: The reference point, one number for each objective.
    """
    inside = losses[np.all(losses <= np.asarray(reference), axis=1)]
    return float(compute_hypervolume(inside, np.asarray(reference, float)))


def boxes_above(scores: np.ndarray, lowest: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns boxes that together are the region which points do not dominate; every value is to be maximized.

    Args:
        scores: The points, shape (points, objectives), at least one of each.
        lowest: Where the region begins in each objective.

    Returns:
        The lowest and the highest corners of the boxes, shape (boxes, objectives) each; highest ones may be infinite.
    """
    if scores.shape[1] == 1:
        return scores.max(axis=0, keepdims=True), np.full((1, 1), np.inf)
    low, high = get_non_dominated_box_bounds(-scores, np.full(scores.shape[1], -lowest))
    return -high, -low


class Hyperband(HyperbandPruner):
    """Optuna's Hyperband with brackets that are drawn from a seed and the trial's number.

    Optuna draws them from the name of the study, which differs in each run of a job; so would the trials that are pruned.

    Args:
        min_resource: Smallest number of epochs after which a trial may end, at least 1.
        max_resource: Number of epochs of a trial that is not ended early; "auto" takes that of the first complete trial, and
            prunes none before.
        reduction_factor: In each bracket, one of so many trials goes on after each comparison; at least 2.
        bootstrap_count: Number of trials that must be compared before one may go on, at least 0.
        seed: Seed of the brackets.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        min_resource: int = 1,
        max_resource: str | int = "auto",
        reduction_factor: int = 3,
        bootstrap_count: int = 0,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(min_resource, max_resource, reduction_factor, bootstrap_count)
        self._seed = seed
        # Checks the numbers now; Optuna does it when the first trial reports.
        SuccessiveHalvingPruner(min_resource, reduction_factor, 0, bootstrap_count)

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        """Returns the number of the trial's bracket; larger ones let trials run longer before they are compared."""
        draw = binascii.crc32(f"{self._seed}_{trial.number}".encode()) % max(1, self._total_trial_allocation_budget)
        for bracket, share in enumerate(self._trial_allocation_budgets):
            draw -= share
            if draw < 0:
                return bracket
        return 0
