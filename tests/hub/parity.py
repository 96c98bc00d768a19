"""The recipe of the parity fixtures: weights from each key's name, and what a fixture says of a network."""

from __future__ import annotations

import zlib
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

from hubserve.complexity import complexity


def fill(model: nn.Module, gain: float) -> None:
    """Gives each tensor numbers that depend on its key and shape alone."""
    filled = {key: torch.from_numpy(filling(key, tuple(t.shape), gain)).to(t.dtype) for key, t in model.state_dict().items()}
    model.load_state_dict(filled)


def filling(key: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    noise = np.asarray(np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(shape))
    if key.endswith("running_var"):
        return (np.abs(noise) * 0.1 + 1.0).astype(np.float32)
    if key.endswith("running_mean"):
        return (noise * 0.1).astype(np.float32)
    if len(shape) >= 2:
        return (noise * np.sqrt(gain / prod(shape[1:]))).astype(np.float32)
    return (1 + 0.1 * noise if key.endswith("weight") else 0.1 * noise).astype(np.float32)


def fixture_input(shape: list[int]) -> torch.Tensor:
    return torch.from_numpy(np.random.Generator(np.random.PCG64(0)).standard_normal(shape).astype(np.float32))


def assert_equals_fixture(model: nn.Module, fixture: dict[str, Any]) -> None:
    """Keys in order, shapes, parameters, MACs, norms, dropout, and logits in double precision."""
    model.eval()
    assert [[key, list(t.shape)] for key, t in model.state_dict().items()] == fixture["state_dict"]
    shape = fixture["input_shape"]
    found = complexity(model, tuple(shape[1:]))
    assert found.params == fixture["num_params"]
    assert {"conv": found.conv_macs, "linear": found.linear_macs, "total": found.macs} == fixture["macs"]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sorted({m.eps for m in norms}) == fixture["batchnorm_eps"]
    assert sorted({m.momentum for m in norms}) == fixture["batchnorm_momentum"]
    assert sorted({m.p for m in model.modules() if isinstance(m, nn.Dropout)}) == fixture["dropout_p"]
    fill(model, fixture["fill_gain"])
    with torch.no_grad():
        logits = model.double()(fixture_input(shape).double()).numpy()
    for row, expected in zip(logits, fixture["logits_float64"], strict=True):
        np.testing.assert_allclose(row[:16], expected["first16"], rtol=1e-9, atol=1e-12)
        summary = [row.mean(), row.std(), np.linalg.norm(row), row.min(), row.max()]
        np.testing.assert_allclose(summary, [expected[k] for k in ("mean", "std", "l2", "min", "max")], rtol=1e-9, atol=1e-12)
        assert row.argmax() == expected["argmax"]
