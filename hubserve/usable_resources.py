"""Returns the CPU cores and the memory that this process may use, by its affinity and the limits of its container."""

import math
import os
from pathlib import Path

from hubserve import cgroup

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that limit the threads of torch and numpy, which respect the affinity but not a CPU quota."""


def cores() -> int:
    """Returns the number of cores that this process may use, by its affinity and the CPU quota of its container.

    It is at least 1; a quota that is not a whole number of cores is rounded up. All default numbers of threads and processes
    that depend on the machine are taken from here.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(found, math.ceil(cgroup.cpu_quota() or found)))


def limit_library_threads() -> None:
    """Sets those of `THREAD_VARIABLES` that the user has not set to the number of cores, if there is a CPU quota.

    It must be called before torch and numpy are imported, as they read these variables at import. A value of OMP_NUM_THREADS
    that the user has set is taken for the other variables.
    """
    if cgroup.cpu_quota() is not None:
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, os.environ.get("OMP_NUM_THREADS", str(cores())))


def memory_bytes() -> int:
    """Returns the memory that this process may use, in bytes: that of the machine, or the limit of its container if lower.

    If the system does not report the memory of the machine, 8 GiB are assumed.
    """
    machine = machine_memory() or 8 * 2**30
    return min(machine, cgroup.memory_limit() or machine)


def available_memory_bytes() -> float:
    """Returns the bytes that are still available on this machine and in its container; infinite if the system does not say."""
    left = cgroup.memory_left()
    found = [] if left is None else [float(left)]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        lines = []
    found += [int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")]
    return min(found, default=math.inf)


def free_shared_memory() -> int | None:
    """Returns the free bytes of /dev/shm, through which processes pass tensors to each other; None if there is no such folder.

    In a container it has 64 MB unless it was started with another size.
    """
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def machine_memory() -> int | None:
    """Returns the memory of the machine in bytes; None if the system does not report it."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
