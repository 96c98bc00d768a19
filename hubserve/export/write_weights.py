"""Writes the tensors of a model to a safetensors file, also where two of them share memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from hubserve.errors import ExportError


def write_weights(state: Mapping[str, Any], path: Path, *, metadata: dict[str, str] | None = None) -> None:
    """Writes a state dict to a safetensors file.

    Tensors that share memory, those of tied modules and parameters, are written once for each name, since the format has no
    shared tensors: every reader finds all names, and loading the file into a model with the same ties gives the same model.

    Args:
        state: State dict of a module.
        path: File to write.
        metadata: Texts by name to store in the file's header; None stores none.

    Raises:
        ExportError: A value is not a tensor, such as the extra state of a module.
        safetensors.SafetensorError: The file cannot be written, e.g. because its folder does not exist.
    """
    others = [f"{name!r} ({type(value).__name__})" for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise ExportError(f"weights are tensors, and the state dict of the model has {', '.join(others)}")
    tensors: dict[str, Tensor] = {}
    written: set[int] = set()
    for name, value in state.items():
        tensor = value.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if memory in written else tensor
        written.add(memory)
    save_file(tensors, path, metadata=metadata)
