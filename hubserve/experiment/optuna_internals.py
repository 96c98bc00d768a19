"""The only place that uses parts of Optuna that it does not document; pyproject.toml bounds Optuna's version for their sake."""

import optuna
from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

RUNNING_TRIAL_OPERATIONS = frozenset((5, 8, 9))
"""Values of `op_code` in a journal file for records of one running trial: its parameters, user and system attributes."""

TRIAL_STATE_OPERATION = 6
"""Value of `op_code` in a journal file that sets a trial's state and values."""


def storage_of_study(study: Study) -> BaseStorage:
    """The storage that `study` reads and writes."""
    return study._storage


def trial_id(trial: optuna.Trial) -> int:
    """The id of `trial` in its storage, which is not its number where the storage holds several studies."""
    return trial._trial_id


def reopen(study: Study, trial: FrozenTrial) -> optuna.Trial:
    """A running trial of `study` as `study.ask` returned it, so that another process goes on with it."""
    return optuna.Trial(study, trial._trial_id)
