"""All uses of undocumented parts of Optuna; because of them, pyproject.toml bounds Optuna's version."""

import optuna
from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

RUNNING_TRIAL_OPERATIONS = frozenset((5, 8, 9))
"""Values of `op_code` in a journal file for records of one running trial: its parameters, user and system attributes."""

TRIAL_STATE_OPERATION = 6
"""Value of `op_code` in a journal file that sets a trial's state and values."""


def storage_of_study(study: Study) -> BaseStorage:
    """Returns the storage of `study`."""
    return study._storage


def trial_id(trial: optuna.Trial) -> int:
    """Returns the id of `trial` in its storage; it differs from the trial's number if the storage holds several studies."""
    return trial._trial_id


def note_on_trial(study: Study, trial: FrozenTrial, key: str, value: int | str) -> None:
    """Stores a system attribute of a trial that has not ended, as Optuna's samplers do in `after_trial`."""
    study._storage.set_trial_system_attr(trial._trial_id, key, value)


def reopen(study: Study, trial: FrozenTrial) -> optuna.Trial:
    """Returns a running trial of `study` as an `optuna.Trial`, as `study.ask` does, so that another process can continue it."""
    return optuna.Trial(study, trial._trial_id)
