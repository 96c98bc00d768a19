"""Nothing that a file asks for is called, by any of the functions that `torch.load` uses of its pickle module."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from hubserve.errors import WeightsError
from hubserve.hub import restricted_unpickler
from hubserve.hub.read_state_dict import read_state_dict

MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001
"""The first two objects of a PyTorch file older than torch 1.6; a dict about the machine is the third."""


class Evil:
    """Makes a folder when it is unpickled as usual."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def evil(tmp_path) -> Evil:
    return Evil(tmp_path / "ran")


def test_as_usual_it_runs(evil):
    pickle.loads(pickle.dumps(evil))
    assert evil.folder.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_load_and_loads_run_nothing(evil, protocol):
    data = pickle.dumps({"w": evil}, protocol)
    assert isinstance(restricted_unpickler.loads(data)["w"], restricted_unpickler.Inert)
    assert isinstance(restricted_unpickler.load(io.BytesIO(data), encoding="utf-8")["w"], restricted_unpickler.Inert)
    assert not evil.folder.exists()


def test_plain_objects_are_read():
    data = OrderedDict(a=[1, 2.5, "x", None], b=(True, {"c": b"d"}))
    assert restricted_unpickler.loads(pickle.dumps(data)) == data


@pytest.mark.parametrize("place", range(5))
def test_every_object_of_an_old_file(evil, tmp_path, place):
    """The magic number, protocol version, system information, the object itself and the storage keys."""
    objects: list[object] = [MAGIC_NUMBER, PROTOCOL_VERSION, {"little_endian": True}, {"w": torch.zeros(1).tolist()}, []]
    objects[place] = evil
    path = tmp_path / "x.pth"
    path.write_bytes(b"".join(pickle.dumps(one, 2) for one in objects))
    with pytest.raises(WeightsError):
        read_state_dict(path)
    assert not evil.folder.exists()


def test_every_object_of_an_old_file_in_a_dict(evil, tmp_path):
    torch.save({"state_dict": {"w": torch.ones(2)}, "args": evil}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert read_state_dict(tmp_path / "x.pth")["w"].tolist() == [1, 1]
    assert not evil.folder.exists()
