"""What is used of Optuna's undocumented parts: one module does, and they mean what it says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal._storage import JournalOperation

from hubserve.strategy.optuna_internals import (
    RUNNING_TRIAL_OPERATIONS,
    TRIAL_STATE_OPERATION,
    reopen,
    storage_of_study,
    trial_id,
)

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(r"(study|trial|sampler|storage)\w*(\(\))?\._(?!_)\w+|(from|import) optuna(\.\w+)*\._|optuna\._")
MODULES = [path for path in (ROOT / "hubserve").rglob("*.py") if re.search(r"\boptuna\b", path.read_text("utf-8"))]


def test_one_module_uses_underscored_names():
    using = {path.name: PRIVATE.findall(re.sub(r"self\._", "", path.read_text("utf-8"))) for path in MODULES}
    assert len(using) > 10
    assert [name for name, found in using.items() if found] == ["optuna_internals.py"]


def test_the_version_is_bounded_from_above():
    (bound,) = [d for d in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] if "optuna" in d]
    assert "<6" in bound
    assert int(optuna.__version__.split(".")[0]) < 6


def test_operations_of_a_journal_are_optunas():
    of_running_trials = {
        JournalOperation.SET_TRIAL_PARAM,
        JournalOperation.SET_TRIAL_USER_ATTR,
        JournalOperation.SET_TRIAL_SYSTEM_ATTR,
    }
    assert set(RUNNING_TRIAL_OPERATIONS) == {int(operation) for operation in of_running_trials}
    assert int(JournalOperation.SET_TRIAL_STATE_VALUES) == TRIAL_STATE_OPERATION


@pytest.mark.parametrize("memory", [True, False])
def test_a_running_trial_goes_on_under_its_id(tmp_path, memory):
    storage = optuna.storages.InMemoryStorage() if memory else f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(storage=storage, study_name="another").ask()
    study = optuna.create_study(storage=storage, study_name="s")
    trial = study.ask()
    first = trial.suggest_categorical("a", (1, 2, 3))
    (left,) = study.get_trials()
    again = reopen(study, left)
    assert (again.number, trial_id(again)) == (0, trial_id(trial))
    assert again.suggest_categorical("a", (1, 2, 3)) == first
    study.tell(again, 1.0)
    assert storage_of_study(study).get_trial(trial_id(again)).value == 1.0
