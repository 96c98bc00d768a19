"""Measures the peak memory of each format of a package, each in a process of its own.

In a shared process, a model would reuse memory that earlier models have freed, and its own need would look too small.

`python -m hubserve.latency.memory PACKAGE TRUSTED BATCH_SIZE THREADS FORMAT...` prints a JSON list of [format, MiB before,
peak MiB]. TRUSTED is "trusted" or empty. This process imports the libraries once and forks one process for each format.
"""

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
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.latency.profile_report import Memory
from hubserve.package.package import Backend, Package, read_package
from hubserve.package.parity import random_batches
from hubserve.package.runner import Runner

CALLS = 5
MOST_SECONDS = 600


def measure_memory(package: Package, formats: Iterable[str], *, batch_size: int, threads: int) -> tuple[Memory, ...]:
    """Measures the peak memory of each format while it is loaded and called a few times.

    Args:
        package: Package that has the formats.
        formats: Names of the formats to measure; "eager" is PyTorch itself, and "openvino" runs the format "onnx".
        batch_size: Number of images in a call.
        threads: Number of threads that a call may use.

    Raises:
        ProfileError: The process failed, or the operating system is not Linux, whose /proc reports the memory.
    """
    trusted = "trusted" if package.trusted else ""
    arguments = [str(package.path.resolve()), trusted, str(batch_size), str(threads), *formats]
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


def _runner(package: Package, format: str, threads: int) -> Runner:
    if format == "eager":
        return EagerRunner(rebuild_model(package))
    backend: Backend = format  # type: ignore[assignment]
    return package.runner(backend, threads=threads)


def _status(name: str) -> float:
    """Returns the field `name` of /proc/self/status, such as "VmRSS", in MiB. Raises ProfileError if it does not exist."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) / 1024, 2)
    raise ProfileError(f"/proc/self/status has no {name}")


def _measure(path: str, trusted: bool, format: str, batch_size: int, threads: int) -> tuple[str, float, float]:
    signal.alarm(MOST_SECONDS)  # Ends this process even if the one that started it was killed.
    torch.set_num_threads(threads)
    package = read_package(Path(path), trusted=trusted)
    size = package.manifest.preprocess.input_size
    (batch,) = random_batches((3, size, size), sizes=(batch_size,))
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Resets the peak to the memory that is resident now.
    runner = _runner(package, format, threads)
    for _ in range(CALLS):
        runner(batch)
    return format, before, _status("VmHWM")


def _main(path: str, trusted: str, batch_size: str, threads: str, *formats: str) -> None:
    found = []
    for format in formats:
        # One process for each format, so that none reuses memory that another has freed.
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found.append(pool.apply(_measure, (path, bool(trusted), format, int(batch_size), int(threads))))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
