"""Weights of tied modules and parameters in a safetensors file."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hubserve.errors import ExportError
from hubserve.export.write_weights import write_weights


class Tied(nn.Module):
    """A module under two names, a parameter of two modules, a buffer that is a part of a parameter, and an empty one."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = self.first
        self.up, self.down = nn.Linear(4, 4), nn.Linear(4, 4)
        self.down.weight = self.up.weight
        self.register_buffer("part", self.up.weight.detach()[1:3])
        self.register_buffer("turned", self.up.weight.detach().T)
        self.register_buffer("empty", torch.zeros(0))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.down(self.up(self.second(self.first(self.stem(x))).mean((2, 3)))))


def test_every_name_is_written_and_read(tmp_path):
    model, other = Tied(), Tied()
    write_weights(model.state_dict(), tmp_path / "w.safetensors", metadata={"format": "pt"})
    found = load_file(tmp_path / "w.safetensors")
    assert found.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor), name
    other.load_state_dict(found)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(other(x), model(x))
    assert other.down.weight is other.up.weight


def test_what_is_no_tensor_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"'head._extra_state' \(dict\)"):
        write_weights({"a": torch.ones(1), "head._extra_state": {}}, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()
