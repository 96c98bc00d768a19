"""Experiments: a study that asks a strategy, evaluates and stores."""

from __future__ import annotations

from hubserve.experiment.config import ExperimentConfig
from hubserve.experiment.constraints import Constraint
from hubserve.experiment.executors import Executor, InlineExecutor
from hubserve.experiment.experiment import NasExperiment
from hubserve.experiment.processes import ProcessExecutor
from hubserve.experiment.records import TrialRecord
from hubserve.experiment.storage import open_storage

__all__ = [
    "Constraint",
    "Executor",
    "ExperimentConfig",
    "InlineExecutor",
    "NasExperiment",
    "ProcessExecutor",
    "TrialRecord",
    "open_storage",
]
