"""Lists the NVIDIA GPUs that this process may use, by calling CUDA's driver library (libcuda), without torch."""

import ctypes
from dataclasses import dataclass
from functools import cache

LIBRARY = "libcuda.so.1"

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
"""Values of CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h."""


@dataclass(frozen=True)
class Gpu:
    """Description of one GPU.

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
    """Returns the GPUs that this process may use, in CUDA's order; an empty tuple without a driver or a GPU.

    The result of the first call is kept, so that later changes of CUDA_VISIBLE_DEVICES have no effect.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return ()
    count, version = ctypes.c_int(), ctypes.c_int()
    # Each function of the driver returns 0 on success.
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
