"""Experiments: searches of a model space by a strategy and an evaluator, whose trials are stored in an Optuna study."""

import importlib

from hubserve.experiment.constraints import Constraint
from hubserve.experiment.executors import Executor, InlineExecutor
from hubserve.experiment.experiment import NasExperiment
from hubserve.experiment.nni_config import ExperimentConfig
from hubserve.experiment.process_executor import ProcessExecutor
from hubserve.experiment.quantile_constraint import quantile_constraint
from hubserve.experiment.storage import open_storage
from hubserve.experiment.trial_record import TrialRecord

__all__ = [
    "Constraint",
    "Executor",
    "ExperimentConfig",
    "InlineExecutor",
    "NasExperiment",
    "ProcessExecutor",
    "TrialRecord",
    "open_storage",
    "quantile_constraint",
]


def __getattr__(name: str) -> object:
    # Not in __all__: Ray takes seconds to import, and is an extra.
    if name == "RayExecutor":
        return importlib.import_module("hubserve.experiment.ray_executor").RayExecutor
    raise AttributeError(f"module 'hubserve.experiment' has no attribute {name!r}")
