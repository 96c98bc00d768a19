"""Describes the machine that this process runs on, for records of measurements; also exports `usable_resources`' functions."""

import contextlib
import os
import platform
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hubserve import __version__, cgroup
from hubserve.cuda_driver import gpus
from hubserve.usable_resources import available_memory_bytes, cores, machine_memory, memory_bytes

__all__ = [
    "Host",
    "available_memory_bytes",
    "cores",
    "describe_host",
    "installed_versions",
    "memory_bytes",
    "onnx_runtimes",
    "versions",
]

RELEVANT_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")
"""Vector extensions, named as in /proc/cpuinfo, that change the speed of networks."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_AFFINITY", "GOMP_CPU_AFFINITY")
"""Environment variables that set how many threads libraries use, and on which cores."""

ONNX_RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
"""Distributions of ONNX Runtime. Both install the Python package `onnxruntime`."""

TWO_ONNX_RUNTIMES = "both install the same files and overwrite each other: uninstall both, then install one"
"""Advice where both of `ONNX_RUNTIMES` are installed."""

MOBILE_RUNTIMES = ("executorch", "litert-torch", "ai-edge-litert", "pnnx", "ncnn")
"""Distributions that write and run the formats for phones and boards; optional."""


class Host(BaseModel):
    """Description of a machine and its software. An attribute that the operating system does not report is None.

    Attributes:
        cpu: Model name of the processor.
        cores: Number of cores that this process may use, by its affinity and the CPU quota of its container.
        affinity: Indices of the cores that this process may run on; empty if the system does not report them.
        smt: Whether simultaneous multithreading is on, so that two of the cores may share one core's arithmetic units.
        mhz: Clock frequency of the first core when the description was made, in MHz.
        flags: Vector extensions of the processor that are in `RELEVANT_FLAGS`.
        governor: Frequency policy of the kernel, such as "performance".
        cpu_quota: CPU quota of the container in cores; None without a quota.
        memory_gib: Memory of the machine, or of the container if it may use less, in GiB.
        load_before: One-minute load average when the description was made, before a measurement. If it is above about 0.3,
            other programs were running.
        system: Name of the operating system and version of its kernel.
        container: Whether the process runs in a container, as far as this is visible from inside.
        gpu: Name of the first GPU; None without one.
        gpu_driver: CUDA version that the GPU's driver supports, and the GPU's compute capability; None without a GPU.
        environment: Those of the variables `THREAD_VARIABLES` that are set, with their values.
        versions: Installed version of hubserve, of Python, and of each library that exports or runs models, by name.
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
    """Returns a description of the machine that this process runs on, as it is at this moment."""
    cpuinfo = _cpuinfo()
    flags = cpuinfo.get("flags", cpuinfo.get("Features", "")).split()
    gpu = next(iter(gpus()), None)
    return Host(
        cpu=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        cores=cores(),
        flags=tuple(flag for flag in RELEVANT_FLAGS if flag in flags),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        cpu_quota=cgroup.cpu_quota(),
        memory_gib=None if machine_memory() is None else round(memory_bytes() / 2**30, 1),
        load_before=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        system=f"{platform.system()} {platform.release()}",
        gpu=gpu.name if gpu else None,
        environment={name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        versions=versions(),
        affinity=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (),
        smt={"1": True, "0": False}.get(_read("/sys/devices/system/cpu/smt/active") or ""),
        mhz=float(cpuinfo["cpu MHz"]) if "cpu MHz" in cpuinfo else None,
        container=Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "container" in os.environ,
        gpu_driver=f"CUDA {gpu.cuda}, compute capability {gpu.capability}" if gpu else None,
    )


def versions() -> dict[str, str]:
    """Returns the installed version of hubserve, of Python, and of each library that exports or runs models, by name."""
    own = {"hubserve": __version__, "python": platform.python_version()}
    return own | installed_versions("torch", "onnx", "onnxscript", *ONNX_RUNTIMES, "openvino", *MOBILE_RUNTIMES)


def onnx_runtimes() -> str:
    """Returns the installed ones of `ONNX_RUNTIMES` with their versions, separated by commas; empty if there are none."""
    return ", ".join(f"{name} {version}" for name, version in installed_versions(*ONNX_RUNTIMES).items())


def installed_versions(*names: str) -> dict[str, str]:
    """Returns the versions of the distributions `names` by name, in the given order; those not installed are left out."""
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _cpuinfo() -> dict[str, str]:
    """Returns the fields of the first processor in /proc/cpuinfo by name; empty if there is no such file."""
    first = (_read("/proc/cpuinfo") or "").split("\n\n")[0]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
