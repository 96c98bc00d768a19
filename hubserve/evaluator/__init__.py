"""Evaluators: how good a model is."""

from __future__ import annotations

from torch.utils.data import DataLoader

from hubserve.evaluator.base import Evaluator, Objective, TrainingEvaluator, Trial
from hubserve.evaluator.classification import Classification
from hubserve.evaluator.datasets import LabelledData, load_dataset
from hubserve.evaluator.functional import FunctionalEvaluator
from hubserve.evaluator.nasbench101_file import read_nasbench101
from hubserve.evaluator.nasbench201_file import read_nasbench201
from hubserve.evaluator.regression import Regression
from hubserve.evaluator.table import Table, read_csv, read_json
from hubserve.evaluator.tabular import TabularEvaluator
from hubserve.evaluator.wrappers import FailureHandler, MultipleEvaluation, Replay

__all__ = [
    "Classification",
    "DataLoader",
    "Evaluator",
    "FailureHandler",
    "FunctionalEvaluator",
    "LabelledData",
    "MultipleEvaluation",
    "Objective",
    "Regression",
    "Replay",
    "Table",
    "TabularEvaluator",
    "TrainingEvaluator",
    "Trial",
    "load_dataset",
    "read_csv",
    "read_json",
    "read_nasbench101",
    "read_nasbench201",
]
