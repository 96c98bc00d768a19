"""What machine a latency was measured on: without this a number of milliseconds says nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from hubserve.export.manifest import versions

TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")


class Host(BaseModel):
    """Fingerprint of a machine and its software.

    Attributes:
        cpu: model name.
        cores: that this process may use.
        flags: vector extensions that matter for speed.
        governor: frequency policy, where the kernel tells.
        cpu_quota: cores that the container may use, where limited.
        memory_gib: of the machine.
        load_before: one-minute load average before the measurement; above a few tenths, something else ran.
        system: operating system and kernel.
        gpu: name, where there is one.
        environment: variables that steer threads.
        versions: of the software.
    """

    model_config = ConfigDict(frozen=True)

    cpu: str
    cores: int
    flags: tuple[str, ...]
    governor: str | None
    cpu_quota: float | None
    memory_gib: float | None
    load_before: float | None
    system: str
    gpu: str | None
    environment: dict[str, str]
    versions: dict[str, str]


def describe_host() -> Host:
    """The machine this runs on, now; what it does not tell is None."""
    cpuinfo = _cpuinfo()
    flags = cpuinfo.get("flags", cpuinfo.get("Features", "")).split()
    return Host(
        cpu=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        flags=tuple(flag for flag in TELLING_FLAGS if flag in flags),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        cpu_quota=_quota(),
        memory_gib=_memory_gib(),
        load_before=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        system=f"{platform.system()} {platform.release()}",
        gpu=torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        environment={name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ},
        versions=versions(),
    )


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _cpuinfo() -> dict[str, str]:
    """The first processor's entry."""
    first = (_read("/proc/cpuinfo") or "").split("\n\n")[0]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}


def _quota() -> float | None:
    quota, _, period = (_read("/sys/fs/cgroup/cpu.max") or "").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
