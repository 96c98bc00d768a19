"""What machine a latency was measured on: without this a number of milliseconds says nothing."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from hubserve import __version__

TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")

STEERING = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_AFFINITY", "GOMP_CPU_AFFINITY")
"""Variables that decide about threads."""


class Host(BaseModel):
    """Fingerprint of a machine and its software.

    Attributes:
        cpu: model name.
        cores: that this process may use.
        affinity: their numbers.
        smt: whether two of them may share one core's arithmetic, where the kernel tells.
        mhz: clock of the first one, just now.
        flags: vector extensions that matter for speed.
        governor: frequency policy, where the kernel tells.
        cpu_quota: cores that the container may use, where limited.
        memory_gib: of the machine.
        load_before: one-minute load average before the measurement; above a few tenths, something else ran.
        system: operating system and kernel.
        container: whether it is one, as far as one can see from inside.
        gpu: name, where there is one.
        gpu_driver: CUDA that torch was built for, and the card's compute capability.
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
    affinity: tuple[int, ...] = ()
    smt: bool | None = None
    mhz: float | None = None
    container: bool = False
    gpu_driver: str | None = None


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
        environment={name: os.environ[name] for name in STEERING if name in os.environ},
        versions=versions(),
        affinity=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (),
        smt={"1": True, "0": False}.get(_read("/sys/devices/system/cpu/smt/active") or ""),
        mhz=float(cpuinfo["cpu MHz"]) if "cpu MHz" in cpuinfo else None,
        container=Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "container" in os.environ,
        gpu_driver=_gpu_driver(),
    )


def _gpu_driver() -> str | None:
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability(0)
    return f"CUDA {torch.version.cuda}, compute capability {major}.{minor}"


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


def versions() -> dict[str, str]:
    """Of the software at work here."""
    found = {"hubserve": __version__, "python": platform.python_version()}
    for package in ("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "openvino"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
