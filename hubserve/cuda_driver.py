"""The GPUs that CUDA's driver sees, asked of its library (libcuda) so that no torch is needed."""

import ctypes
from dataclasses import dataclass
from functools import cache

LIBRARY = "libcuda.so.1"

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
"""Numbers of CUdevice_attribute in cuda.h."""


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: Product name, such as "NVIDIA H100".
        capability: Compute capability, such as "9.0".
        cuda: Newest version of CUDA that the installed driver supports, such as "12.8".
    """

    name: str
    capability: str
    cuda: str


@cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES limits them at the first call; none without a driver."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return ()
    count, version = ctypes.c_int(), ctypes.c_int()
    # Each function answers 0 where it succeeds.
    if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)) or library.cuDriverGetVersion(ctypes.byref(version)):
        return ()
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return tuple(_gpu(library, index, cuda) for index in range(count.value))


def _gpu(library: ctypes.CDLL, index: int, cuda: str) -> Gpu:
    name, major, minor = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
    # The handle of a device is its index.
    library.cuDeviceGetName(name, len(name), index)
    library.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, index)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, index)
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}", cuda)
