"""The CUDA driver, with a stand-in for its library."""

from __future__ import annotations

import ctypes

import pytest

from hubserve import cuda_driver
from hubserve.cuda_driver import Gpu, gpus


class Library:
    """As libcuda answers on a machine with two H100."""

    status = 0

    def cuInit(self, flags):  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = 2
        return 0

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = 12080
        return 0

    def cuDeviceGetName(self, name, length, index):  # noqa: N802
        name.value = f"NVIDIA H100 {index}".encode()
        return 0

    def cuDeviceGetAttribute(self, value, attribute, index):  # noqa: N802
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0


@pytest.fixture(autouse=True)
def fresh():
    gpus.cache_clear()
    yield
    gpus.cache_clear()


def test_name_capability_and_version(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert gpus() == (Gpu("NVIDIA H100 0", "9.0", "12.8"), Gpu("NVIDIA H100 1", "9.0", "12.8"))


def test_a_driver_without_a_gpu(monkeypatch):
    monkeypatch.setattr(Library, "status", 100)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert gpus() == ()


def test_no_driver(monkeypatch):
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-that-is-not-there.so")
    assert gpus() == ()
