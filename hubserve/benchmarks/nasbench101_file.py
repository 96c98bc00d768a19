"""Reads the files published with NAS-Bench-101."""

import base64
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from hubserve.benchmarks.score_table import Cell, Row, Table
from hubserve.benchmarks.tfrecord import fields, read_records
from hubserve.errors import EvaluatorError


def read_nasbench101(path: Path) -> Table:
    """Reads a table from `nasbench_only108.tfrecord` or `nasbench_full.tfrecord`; its keys are the digests of the cells.

    Each record of the file is a JSON array: digest, epochs, adjacency matrix row by row, operations, and a base64 text of the
    message ModelMetrics (github.com/google-research/nasbench, nasbench/lib/model_metrics.proto).

    For each number of epochs E, the columns `val_E`, `test_E` and `train_E` have the accuracies of all runs in percent (the
    file has fractions), and `seconds_E` their training times; `val_E_half` and so on are the same after half of the epochs.
    `params` is the number of parameters; `adjacency` and `operations` are texts that describe the cell, which
    `arch_from_matrix` converts to an arch after parsing.

    Raises:
        EvaluatorError: The file cannot be read, has no records, or is not in this format.
    """
    cells: dict[str, dict[str, Cell]] = {}
    runs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number, record in enumerate(read_records(path)):
        try:
            digest, epochs, adjacency, operations, metrics = json.loads(record)
            params, evaluations = _metrics(base64.b64decode(metrics, validate=True))
            if not all(isinstance(text, str) for text in (digest, adjacency, operations)):
                raise TypeError("digest, adjacency and operations must be text")
            cells[digest] = {"params": float(params), "adjacency": adjacency, "operations": operations}
        except (ValueError, TypeError, OverflowError, RecursionError, EvaluatorError) as error:
            raise EvaluatorError(f"{path}: record {number} is not in the format of NAS-Bench-101: {error}") from error
        if len(evaluations) < 3:
            raise EvaluatorError(f"{path}: record {number} has {len(evaluations)} evaluations of 3: before, half-way, after")
        for suffix, evaluation in (("_half", evaluations[1]), ("", evaluations[2])):
            for name, value in evaluation._asdict().items():
                runs[digest][f"{name}_{epochs}{suffix}"].append(value)
    rows: dict[str, Row] = {
        digest: {**{name: tuple(values) for name, values in runs[digest].items()}, **cell} for digest, cell in cells.items()
    }
    return Table(str(path), rows)


class _Evaluation(NamedTuple):
    """The training time so far in seconds, and the accuracies in percent."""

    seconds: float = 0.0
    train: float = 0.0
    val: float = 0.0
    test: float = 0.0


def _metrics(message: bytes) -> tuple[int, list[_Evaluation]]:
    """Returns the number of parameters (field 2) and the evaluations (field 1) of an encoded message ModelMetrics."""
    params, evaluations = 0, []
    for number, value in fields(message):
        if number == 1 and isinstance(value, bytes):
            evaluations.append(_evaluation(value))
        elif number == 2 and isinstance(value, int):
            params = value
    return params, evaluations


def _evaluation(message: bytes) -> _Evaluation:
    """Decodes a message EvaluationData: field 2 is the training time, 3 to 5 are training, validation and test accuracy."""
    found = {number: value for number, value in fields(message) if isinstance(value, float)}
    shares = (100 * found.get(number, 0.0) for number in (3, 4, 5))
    return _Evaluation(found.get(2, 0.0), *shares)
