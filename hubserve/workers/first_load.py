"""Loads and runs an ONNX file for the first time, within limits of time and memory; see `hubserve.package.first_load`.

python -m hubserve.workers.first_load REQUEST

REQUEST is a JSON object: the arguments of `hubserve.package.first_load.FirstLoad`. The answer on stdout is a JSON object: {}
where the file was loaded and run; {"memory": true} where the memory did not suffice; otherwise "type" and "message" of the
error. Nothing is printed by a process that was ended.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hubserve.errors import HubserveError
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.package.openvino_runner import OpenVinoRunner
from hubserve.package.runner import Runner

MOST_MESSAGE = 2000
"""Characters of a message; libraries write some that hold the whole file."""

_MEMORY_SIGNS = ("bad_alloc", "bad allocation", "failed to allocate", "can't allocate", "unable to allocate", "out of memory")
"""How ONNX Runtime and OpenVINO say that they got no memory, in lower case."""


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Loads and runs the file; see the module."""
    try:
        for backend in request["backends"]:
            runner = _load(Path(request["path"]), backend, request["device"])
            for count in request["batches"]:
                runner(np.zeros((count, 3, request["input_size"], request["input_size"]), np.float32))
    except MemoryError:
        return {"memory": True}
    except HubserveError as error:
        message = str(error)[:MOST_MESSAGE]
        if any(sign in message.lower() for sign in _MEMORY_SIGNS):
            return {"memory": True}
        return {"type": type(error).__name__, "message": message}
    return {}


def _load(path: Path, backend: str, device: Any) -> Runner:
    return OpenVinoRunner(path) if backend == "openvino" else OnnxRunner(path, device=device, name=backend)


def limit(request: Mapping[str, Any]) -> None:
    """Limits the time and the memory of this process."""
    # Without a handler the kernel ends the process, whatever it does.
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
    os._exit(0)  # Libraries that still hold threads end slowly.
