"""Reads the files published with NAS-Bench-201."""

import pickle
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hubserve.benchmarks.score_table import Row, Table
from hubserve.errors import EvaluatorError

EPOCHS = {"less": 12, "full": 200}
"""Maps the name of each training in the file to its number of epochs."""


def read_nasbench201(path: Path, *, trusted: bool = False) -> Table:
    """Reads a table from `NAS-Bench-201-v1_1-096897.pth` or `NAS-Bench-201-v1_0-e61699.pth`; its keys are arch strings.

    The file is a pickled dict (github.com/D-X-Y/NAS-Bench-201, nas_201_api). "meta_archs" lists the arch strings. "arch2infos"
    maps the index of each arch to its trainings of 12 epochs ("less") and of 200 epochs ("full"), whose "all_results" has each
    run by data set and seed. Reading takes minutes and as much memory as the size of the file: store the table with
    `write_json`.

    These columns have the values of all runs: `DATASET/SPLIT@EPOCHS`, the accuracy in percent after all epochs, with data set
    and split as the file names them, such as `cifar100/x-valid@12`, `cifar10-valid/x-valid@200`, `ImageNet16-120/x-test@200`
    and `cifar10/ori-test@200`; `DATASET/params` and `DATASET/flops`, in millions; and `DATASET/latency`, in seconds at a batch
    size of 256, if it was measured. The row of an arch has no columns of data sets on which it was not trained.

    Args:
        path: The file.
        trusted: True unpickles all classes that the file names, which can run code of its author. False reads only plain
            values, tensors and NumPy numbers.

    Raises:
        EvaluatorError: The file cannot be read, is not in this format, or names other classes and is not `trusted`.
    """
    data = _load(path, trusted=trusted)
    try:
        archs, infos = data["meta_archs"], data["arch2infos"]
        rows: dict[str, Row] = {archs[index]: _row(info) for index, info in infos.items()}
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EvaluatorError(f"{path} is not in the format of NAS-Bench-201: {type(error).__name__}: {error}") from error
    return Table(str(path), rows)


def _load(path: Path, *, trusted: bool) -> Any:
    # A number of numpy is pickled as a call of a function of numpy, with its type.
    numbers: list[Any] = [np.float64(0).__reduce__()[0], np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))]
    try:
        with torch.serialization.safe_globals([*numbers, defaultdict]):
            return torch.load(path, map_location="cpu", weights_only=not trusted)
    except pickle.UnpicklingError as error:
        raise EvaluatorError(
            f"{path} holds more than plain values: {str(error).splitlines()[0][:300]} If you trust its author, "
            "read it with trusted=True, which runs code that is in it"
        ) from error
    except Exception as error:  # torch raises almost anything on corrupt files.
        raise EvaluatorError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _row(info: Mapping[str, Any]) -> Row:
    runs: dict[str, list[float]] = defaultdict(list)
    for training, epochs in EPOCHS.items():
        if training in info:
            for (dataset, _), result in sorted(info[training]["all_results"].items(), key=lambda item: str(item[0])):
                for name, value in _figures(result, epochs):
                    runs[f"{dataset}/{name}"].append(float(value))
    return {name: tuple(values) for name, values in runs.items()}


def _figures(result: Mapping[str, Any], epochs: int) -> Iterator[tuple[str, Any]]:
    last = result["epochs"] - 1
    for split in result["eval_names"]:
        yield f"{split}@{epochs}", result["eval_acc1es"][f"{split}@{last}"]
    if epochs == EPOCHS["full"]:
        yield "params", result["params"]
        yield "flops", result["flop"]
        if result.get("latency"):
            yield "latency", sum(result["latency"]) / len(result["latency"])
