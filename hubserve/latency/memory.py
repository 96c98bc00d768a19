"""Measures the peak memory of each format of a package, each in a process of its own.

In a shared process, a model would reuse memory that earlier models have freed, and its own need would look too small.

`python -m hubserve.latency.memory PACKAGE TRUSTED BATCH_SIZE THREADS LENGTHS FORMAT...` prints a JSON list of [format, MiB
before, peak MiB]. TRUSTED is "trusted" or empty; LENGTHS is a JSON object with lengths by the names of axes. This process
imports the libraries once and forks one process for each format.
"""

import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from hubserve.errors import ProfileError
from hubserve.latency.package_calls import PackageCalls
from hubserve.latency.profile_report import Memory
from hubserve.package.package import read_package

LIBRARIES = {
    "openvino": "openvino",
    "executorch": "executorch.runtime",
    "executorch-int8": "executorch.runtime",
    "litert": "ai_edge_litert.interpreter",
    "litert-int8": "ai_edge_litert.interpreter",
    "ncnn": "ncnn",
}
"""Format -> module of the library that runs it, for those that a runner imports when it is made."""

CALLS = 5
MOST_SECONDS = 600


def measure_memory(calls: PackageCalls, formats: Iterable[str], *, batch_size: int, threads: int) -> tuple[Memory, ...]:
    """Measures the peak memory of each format while it is loaded and called a few times.

    Args:
        calls: The package that has the formats, and the lengths of its inputs.
        formats: Names of the formats to measure; "eager" is PyTorch itself, and "openvino" runs the format "onnx".
        batch_size: Number of images, or rows of inputs, in a call.
        threads: Number of threads that a call may use.

    Raises:
        ProfileError: The process failed, e.g. because a format cannot be loaded, or did not end within `MOST_SECONDS`; or the
            operating system is not Linux, whose /proc reports the memory.
    """
    trusted, lengths = "trusted" if calls.package.trusted else "", json.dumps(dict(calls.lengths))
    arguments = [str(calls.package.path.resolve()), trusted, str(batch_size), str(threads), lengths, *formats]
    command = [sys.executable, "-W", "ignore", "-m", "hubserve.latency.memory", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, check=True, env=environment)
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        said = (getattr(error, "stderr", None) or "").strip().splitlines()
        raise ProfileError(f"memory cannot be measured here: {said[-1] if said else error}") from error
    return tuple(
        Memory(format=format, before_mib=before, peak_mib=peak, delta_mib=round(peak - before, 2))
        for format, before, peak in found
    )


def _status(name: str) -> float:
    """Returns the field `name` of /proc/self/status, such as "VmRSS", in MiB. Raises ProfileError if it does not exist."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) / 1024, 2)
    raise ProfileError(f"/proc/self/status has no {name}")


def _measure(
    path: str, trusted: bool, format: str, batch_size: int, threads: int, lengths: dict[str, int]
) -> tuple[str, float, float]:
    signal.alarm(MOST_SECONDS)  # Ends this process even if the one that started it was killed.
    torch.set_num_threads(threads)
    calls = PackageCalls(read_package(Path(path), trusted=trusted), lengths)
    batch = calls.batch(batch_size)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Resets the peak to the memory that is resident now.
    runner = calls.load(format, threads)
    for _ in range(CALLS):
        runner(batch)
    return format, before, _status("VmHWM")


def _main(path: str, trusted: str, batch_size: str, threads: str, lengths: str, *formats: str) -> None:
    found = []
    for name in {LIBRARIES[format] for format in formats if format in LIBRARIES}:
        importlib.import_module(name)  # Or its memory would count as that of the model.
    for format in formats:
        # One process for each format, so that none reuses memory that another has freed.
        with multiprocessing.get_context("fork").Pool(1) as pool:
            arguments = (path, bool(trusted), format, int(batch_size), int(threads), json.loads(lengths))
            found.append(pool.apply(_measure, arguments))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
