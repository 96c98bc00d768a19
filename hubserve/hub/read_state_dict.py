"""Reads a state dict from a file of weights without running code; hubserve.hub.key_formats checks that it fits a network."""

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from hubserve.bounded_files import check_expansion, check_safetensors_header
from hubserve.errors import WeightsError

CONTAINERS = ("state_dict", "model", "model_state")
"""Keys under which training scripts store a state dict inside a larger dict."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a PyTorch file, on the CPU; nothing that could run code is unpickled.

    A state dict inside a dict under one of the keys `CONTAINERS` is found.

    Raises:
        WeightsError: The file is missing, corrupt, of another kind, or holds more than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        try:
            check_safetensors_header(path)
            return load_file(path)
        except Exception as error:  # SafetensorError, OSError, and torch's errors about types that it does not have.
            raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        check_expansion(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a plain file of tensors, or asks to run code while it loads, which is refused; "
            f"it begins with {_begin(path)!r}. Save the state_dict alone, or as safetensors"
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError and more on corrupt files.
        raise WeightsError(f"{path} is not a readable PyTorch file: {error}") from error
    return _tensors(found, path)


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _tensors(found: object, path: Path) -> dict[str, Tensor]:
    while isinstance(found, dict) and (wrapped := [name for name in CONTAINERS if isinstance(found.get(name), dict)]):
        found = found[wrapped[0]]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path} holds a {type(found).__name__}, not a state dict: a mapping from names to tensors")
    return dict(found)
