"""Program that loads and runs an ONNX file for the first time, within limits of time and memory.

python -m hubserve.workers.first_load REQUEST

REQUEST is a JSON object with "path", "backends", "inputs", "batches", "device", "seconds", "memory_bytes" and "nice";
`hubserve.package.first_load.FirstLoad`, which runs this program, explains them. The program prints a JSON object: {} if the
file was loaded and run; {"memory": true} if the memory did not suffice; else "type" and "message" of the error. If the kernel
ends the process because of a limit, nothing is printed.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hubserve.errors import HubserveError
from hubserve.package.example_arrays import example_arrays
from hubserve.package.manifest import InputEntry
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.package.onnx_tensor_runner import OnnxTensorRunner
from hubserve.package.openvino_runner import OpenVinoRunner
from hubserve.package.runner import Runner

MOST_MESSAGE = 2000
"""Length to which the message of an answer is cut: messages of libraries may contain the whole file."""

_MEMORY_SIGNS = ("bad_alloc", "bad allocation", "failed to allocate", "can't allocate", "unable to allocate", "out of memory")
"""Parts, in lower case, of the messages with which ONNX Runtime and OpenVINO report that they could not allocate memory."""


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Loads the file with each backend, runs it with each batch size, and returns the answer to print.

    Args:
        request: The parsed REQUEST of this module.
    """
    try:
        for backend in request["backends"]:
            _run(request, backend, [InputEntry.model_validate(entry) for entry in request["inputs"]])
    except MemoryError:
        return {"memory": True}
    except HubserveError as error:
        message = str(error)[:MOST_MESSAGE]
        if any(sign in message.lower() for sign in _MEMORY_SIGNS):
            return {"memory": True}
        return {"type": type(error).__name__, "message": message}
    return {}


def _run(request: Mapping[str, Any], backend: str, inputs: Sequence[InputEntry]) -> None:
    """Loads the file with one backend, and runs it with each batch size.

    Models other than image classifiers are run by ONNX Runtime, whatever the backend. Raises the errors of the runners.
    """
    path, device = Path(request["path"]), request["device"]
    if [entry.prepared_by for entry in inputs] == ["image"]:
        runner = _load(path, backend, device)
        for count in request["batches"]:
            runner(np.zeros((count, *(int(length) for length in inputs[0].shape[1:])), np.float32))
    else:
        tensors = OnnxTensorRunner(path, device=device, name=backend)
        for count in request["batches"]:
            tensors.run(example_arrays(inputs, batch=count))


def _load(path: Path, backend: str, device: Any) -> Runner:
    return OpenVinoRunner(path) if backend == "openvino" else OnnxRunner(path, device=device, name=backend)


def limit(request: Mapping[str, Any]) -> None:
    """Limits the time of this process and, unless it uses a GPU, its memory; also lowers its priority."""
    # Without a handler for SIGALRM, the kernel ends the process at once, even while a library computes.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    os.nice(request["nice"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request["device"] == "cpu":  # CUDA reserves more addresses than there is memory.
        with suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + request["memory_bytes"]
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    limit(given)
    print(json.dumps(answer(given)), flush=True)
    os._exit(0)  # A normal exit would wait for the threads of the libraries.
