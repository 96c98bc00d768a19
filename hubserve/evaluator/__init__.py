"""Imports evaluators, data sets and tabular benchmarks under NNI's names; their code is in training, data and benchmarks."""

from torch.utils.data import DataLoader

from hubserve.benchmarks.nasbench101_file import read_nasbench101
from hubserve.benchmarks.nasbench201_file import read_nasbench201
from hubserve.benchmarks.score_table import Table, read_csv, read_json
from hubserve.benchmarks.tabular_evaluator import TabularEvaluator
from hubserve.benchmarks.zero_cost.zero_cost_evaluator import ZeroCost
from hubserve.data.labelled_data import LabelledData
from hubserve.data.named_datasets import load_dataset
from hubserve.training.classification import Classification
from hubserve.training.evaluator import Evaluator, Objective, TrainingEvaluator, Trial
from hubserve.training.evaluator_by_arch import EvaluatorByArch
from hubserve.training.evaluator_wrappers import FailureHandler, MultipleEvaluation, Replay
from hubserve.training.functional_evaluator import FunctionalEvaluator
from hubserve.training.regression import Regression

__all__ = [
    "Classification",
    "DataLoader",
    "Evaluator",
    "EvaluatorByArch",
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
    "ZeroCost",
    "load_dataset",
    "read_csv",
    "read_json",
    "read_nasbench101",
    "read_nasbench201",
]
