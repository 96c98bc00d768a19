"""Cores and memory that this process may use, by its affinity and by the limits of its container."""

import math
import os
from pathlib import Path

from hubserve import cgroup

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that bound the threads of torch and numpy, which follow the affinity by themselves, but not a quota."""


def cores() -> int:
    """Number of cores that this process may use, at least 1: by its affinity, and by the CPU quota of its container.

    Whatever chooses a number of threads or processes takes this one; a quota of a part of a core is rounded up.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(found, math.ceil(cgroup.cpu_quota() or found)))


def limit_library_threads() -> None:
    """Bounds the threads of torch and numpy where there is a CPU quota, unless the user did: they read this when imported."""
    if cgroup.cpu_quota() is not None:
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, os.environ.get("OMP_NUM_THREADS", str(cores())))


def memory_bytes() -> int:
    """Memory that this process may use: that of the machine, or less where a container has a limit."""
    machine = machine_memory() or 8 * 2**30
    return min(machine, cgroup.memory_limit() or machine)


def available_memory_bytes() -> float:
    """Memory that processes can still take on this machine, or in its container; infinite where the system does not say."""
    left = cgroup.memory_left()
    found = [] if left is None else [float(left)]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        lines = []
    found += [int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")]
    return min(found, default=math.inf)


def machine_memory() -> int | None:
    """Memory of the machine in bytes; None where the system does not say."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
