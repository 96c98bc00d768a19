"""Trained weights as a safetensors file, or as its bytes."""

from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor, nn

from hubserve.atomic import write_atomic

WEIGHTS_FILE = "weights.safetensors"
"""Name of the file of trained weights in a trial's folder."""


def save_weights(model: nn.Module, folder: Path) -> Path:
    """Writes the state dict of `model`, under its own keys; the file appears whole, in one step.

    Returns:
        The file: `weights.safetensors` in `folder`, which is made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS_FILE
    write_atomic(path, pack(model))
    return path


def pack(model: nn.Module) -> bytes:
    """The state dict of `model` as the bytes of a safetensors file, on the CPU, under its own keys."""
    # Copies: safetensors refuses tensors that share memory.
    return save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()})


def unpack(weights: bytes) -> dict[str, Tensor]:
    """The state dict in the bytes that `pack` returned."""
    return load(weights)
