"""Evaluators: how good a model is."""

from __future__ import annotations

from torch.utils.data import DataLoader

from hubserve.evaluator.base import Evaluator, Objective, TrainingEvaluator, Trial
from hubserve.evaluator.classification import Classification
from hubserve.evaluator.functional import FunctionalEvaluator
from hubserve.evaluator.regression import Regression

__all__ = [
    "Classification",
    "DataLoader",
    "Evaluator",
    "FunctionalEvaluator",
    "Objective",
    "Regression",
    "TrainingEvaluator",
    "Trial",
]
