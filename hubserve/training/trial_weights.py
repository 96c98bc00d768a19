"""Writes the weights of a network to a safetensors file, and converts them to and from its bytes."""

from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor, nn

from hubserve.atomic import write_atomic

WEIGHTS_FILE = "weights.safetensors"
"""Name of the file of trained weights in a trial's folder."""


def save_weights(model: nn.Module, folder: Path) -> Path:
    """Writes the state dict of `model` to weights.safetensors in `folder`, atomically, and returns the path of the file.

    Args:
        model: Network whose state dict is written, under its own keys.
        folder: Folder of the file; it is created if it does not exist.

    Raises:
        OSError: The folder or the file cannot be written (StorageError for a full, read-only or forbidden disk).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS_FILE
    write_atomic(path, pack(model))
    return path


def pack(model: nn.Module) -> bytes:
    """Returns the content of a safetensors file with the state dict of `model`, under its own keys."""
    # Copies: safetensors refuses tensors that share memory.
    return save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()})


def unpack(weights: bytes) -> dict[str, Tensor]:
    """Returns the state dict, on the CPU, in the bytes that `pack` returned.

    Raises:
        safetensors.SafetensorError: The bytes are not a safetensors file.
    """
    return load(weights)
