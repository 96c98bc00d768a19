"""Prints as JSON how many threads the libraries and pools start, in processes that may use less than the machine.

A process of its own, since libraries choose their number of threads when they are loaded.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from hubserve.export.onnx_precision import quantize_onnx
from hubserve.export.run_onnx import classify
from hubserve.package.package import read_package


def started_by(work: Callable[[], object]) -> int:
    """The most threads at a time that `work` added to this process."""
    before, most, done = threads(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.0005):
            most = max(most, threads())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    most = max(most, threads())
    done.set()
    watcher.join()
    return max(0, most - before - 1)


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def main(package: Path, image: Path) -> None:
    import numpy as np
    import torch

    from hubserve.accuracy import LocalClassifier
    from hubserve.data.file_dataset import read_into_memory
    from hubserve.experiment import ProcessExecutor
    from hubserve.host import cores
    from hubserve.preprocess import Preprocess

    how = read_package(package).manifest.preprocess
    size = how.input_size
    batches = [np.zeros((1, 3, size, size), np.float32)] * 4
    folder = Path(tempfile.mkdtemp())
    executor = ProcessExecutor()
    many = [image] * 32
    found = {
        "cores": cores(),
        "torch": torch.get_num_threads(),
        "workers": executor.workers * executor.threads,
        "calibration": started_by(lambda: quantize_onnx(package / "model.onnx", folder / "q.onnx", batches)),
        "run_onnx": started_by(lambda: classify(package, many, 1)),
        "evaluation": started_by(lambda: LocalClassifier(lambda batch: batch.reshape(len(batch), -1)[:, :9], how)(many)),
        "reading": started_by(lambda: read_into_memory([(path, 0) for path in many], Preprocess(input_size=8, resize=8))),
        "network": started_by(lambda: torch.nn.Conv2d(3, 64, 7)(torch.zeros(4, 3, 256, 256))),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
