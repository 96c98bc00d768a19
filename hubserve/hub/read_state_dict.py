"""Reads a state dict from a safetensors or PyTorch file, without running code that the file may contain."""

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from hubserve.bounded_files import check_expansion, check_safetensors_header
from hubserve.errors import WeightsError

CONTAINERS = ("state_dict", "model", "model_state")
"""Keys under which training scripts store a state dict inside a larger dict; the first that is found is used."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Returns the state dict that a file contains, with all tensors on the CPU.

    A PyTorch file is loaded with `weights_only=True`, so that no code of the file runs. It may contain the state dict itself or
    a dict that has it under one of the keys `CONTAINERS`. `hubserve.hub.key_formats.convert` compares it with a network.

    Args:
        path: Path of a safetensors file if it ends in ".safetensors", otherwise of a file that `torch.save` wrote.

    Raises:
        WeightsError: The file is missing, too large, corrupt or of another kind, or its state dict is empty or has other
            values than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        try:
            check_safetensors_header(path)
            return load_file(path)
        except Exception as error:  # SafetensorError, OSError, and errors of torch about dtypes that it does not support.
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
    """Returns the first 16 bytes of a file, or all of a shorter one."""
    with path.open("rb") as file:
        return file.read(16)


def _tensors(found: object, path: Path) -> dict[str, Tensor]:
    """Returns the state dict in `found`, the object that `torch.load` returned for `path`.

    Raises:
        WeightsError: `found` is not a dict, or the state dict in it is empty or has other values than tensors.
    """
    while isinstance(found, dict) and (wrapped := [name for name in CONTAINERS if isinstance(found.get(name), dict)]):
        found = found[wrapped[0]]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path} holds a {type(found).__name__}, not a state dict: a mapping from names to tensors")
    return dict(found)
