"""Reads a state dict from a file of weights without running code; hubserve.hub.key_formats checks that it fits a network."""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, load_file
from torch import Tensor

import hubserve.hub.restricted_unpickler as inert_pickle
from hubserve.bounded_files import FileTooLargeError, check_expansion, check_safetensors_header, most_content
from hubserve.errors import WeightsError
from hubserve.hub.local_weights import check_is_file
from hubserve.hub.restricted_unpickler import Inert
from hubserve.hub.torchsharp_file import read_torchsharp

CONTAINERS = ("state_dict", "model", "model_state")
"""Keys under which training scripts store a state dict inside a larger dict."""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, `torch.compile` and Lightning put before every key; removed where all keys begin with it."""

TORCHSHARP_ENDING = ".tsm"
"""Ending of files by TorchSharp, which have no mark of their own in their content."""

ENDINGS = (".pth", ".pt", ".pth.tar", ".bin", ".ckpt", ".safetensors")
"""Endings of files of weights in an archive."""

MOST_MEMBER_BYTES = 16 * 2**30
"""Largest file of weights that is unpacked from a tar archive, in bytes."""


def read_state_dict(path: Path, *, entry: str | None = None, member: str | None = None) -> dict[str, Tensor]:
    """Returns the tensors of a file of weights, contiguous, on the CPU; nothing that could run code is unpickled.

    The file is a .safetensors file, a PyTorch file of any version, a ZIP or tar archive that contains one of these, or a .tsm
    file by TorchSharp. A state dict inside a dict under one of the keys `CONTAINERS` is found, and `PREFIXES` that all keys
    have are removed, except in a .tsm file. Objects beside the tensors, such as a training configuration, are ignored
    (`hubserve.hub.restricted_unpickler`).

    Args:
        path: The file.
        entry: Key of the state dict in the dict of the file, for a file with several; it is used if the file has it, and a file
            that is a bare state dict is read as it is.
        member: End of the path of the file in the archive; None if the archive contains only one file of weights (`ENDINGS`).

    Raises:
        WeightsError: The file is missing, corrupt, of another kind, or unpacks to too many bytes; it has several state dicts
            and not `entry`; or not exactly one file in the archive fits `member`.
    """
    check_is_file(path)
    if path.suffix == TORCHSHARP_ENDING:
        return read_torchsharp(path)
    if path.suffix == ".safetensors":
        try:
            check_safetensors_header(path)
            return _plain(load_file(path))
        except Exception as error:  # SafetensorError, OSError, and torch's errors about types that it does not have.
            raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        check_expansion(path)
        source = _unpacked(path, member)
        if isinstance(source, bytes):
            check_expansion(path, source)
            if source[8:9] == b"{":  # A safetensors file: the length of its header, then JSON.
                return _plain(load(source))
            return _tensors(*_unpickled(io.BytesIO(source), path), path, entry)
        with path.open("rb") as file:
            found = _unpickled(file, path)
    except WeightsError:
        raise
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError and more on corrupt files.
        raise WeightsError(f"{path} is not a readable PyTorch file: {error}") from error
    return _tensors(*found, path, entry)


def _unpickled(file: Any, path: Path) -> tuple[object, bool]:
    """Returns the object in a PyTorch file, and whether other objects than tensors and numbers had to be made inert.

    Raises WeightsError if it cannot be unpickled, and torch's errors, such as RuntimeError, if it is corrupt.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True), False
    except pickle.UnpicklingError:
        file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=False, pickle_module=inert_pickle), True
    except pickle.UnpicklingError as error:
        raise _refusal(path) from error


def _refusal(path: Path) -> WeightsError:
    return WeightsError(
        f"{path} is not a plain file of tensors, or asks to run code while it loads, which is refused; "
        f"it begins with {_begin(path)!r}. Save the state_dict alone, or as safetensors"
    )


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _unpacked(path: Path, member: str | None) -> bytes | None:
    """Returns the content of the file of weights in an archive; None if the file is none, but a PyTorch file itself."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("data.pkl") for name in names):
                return None
            return archive.read(_choose(names, member, path))
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            sizes = _sizes(tar, path)
            if "pickle" in sizes and "storages" in sizes:
                return None  # PyTorch 0.1 wrote tar files.
            chosen = _choose(list(sizes), member, path)
            if sizes[chosen] > MOST_MEMBER_BYTES:
                raise WeightsError(f"{chosen} in {path} is longer than the {MOST_MEMBER_BYTES / 1e9:.3g} GB that are read")
            content = tar.extractfile(chosen)
            return content.read() if content is not None else None
    return None


def _sizes(tar: tarfile.TarFile, path: Path) -> dict[str, int]:
    """Returns the size of each file in a tar archive, which may be compressed.

    Raises:
        FileTooLargeError: They have more bytes together than `most_content` allows.
    """
    sizes: dict[str, int] = {}
    most, total = most_content(path.stat().st_size), 0
    for entry in tar:
        total += entry.size
        if total > most:  # Before the next entry is looked for, which unpacks this one.
            raise FileTooLargeError(path, "its content", most)
        if entry.isfile():
            sizes[entry.name] = entry.size
    return sizes


def _choose(names: list[str], member: str | None, path: Path) -> str:
    hidden = [name for name in names if "__MACOSX/" in name or name.rpartition("/")[2].startswith("._")]
    fitting = [
        name
        for name in names
        if name not in hidden and (name.endswith(ENDINGS) if member is None else f"/{name}".endswith(f"/{member}"))
    ]
    if len(fitting) != 1:
        wanted = "file of weights" if member is None else f"file {member!r}"
        has = ", ".join(fitting[:5]) or ", ".join(names[:5]) or "nothing"
        raise WeightsError(f"{path} is an archive with {len(fitting)} where one {wanted} is needed: {has}")
    return fitting[0]


def _tensors(found: object, made_inert: bool, path: Path, entry: str | None) -> dict[str, Tensor]:
    if entry is not None and isinstance(found, dict) and isinstance(found.get(entry), dict):
        found = found[entry]
    elif entry is not None and isinstance(found, dict) and any(isinstance(found.get(name), dict) for name in CONTAINERS):
        has = ", ".join(map(str, list(found)[:8]))
        raise WeightsError(f"{path} has no entry {entry!r}, whose weights are to be read; it has {has}")
    while isinstance(found, dict) and (wrapped := [name for name in CONTAINERS if isinstance(found.get(name), dict)]):
        found = found[wrapped[0]]
    plain = isinstance(found, dict) and not isinstance(found, Inert)
    if not plain or not found or not all(isinstance(value, Tensor) for value in found.values()):  # type: ignore[attr-defined]
        if made_inert:
            raise _refusal(path)
        raise WeightsError(f"{path} holds a {type(found).__name__}, not a state dict: a mapping from names to tensors")
    _check_copies(found.values(), path)  # type: ignore[attr-defined]
    return _plain(found)  # type: ignore[arg-type]


def _check_copies(tensors: Iterable[Tensor], path: Path) -> None:
    """Checks that contiguous copies of tensors, which may be views that repeat numbers, do not take much more memory.

    Raises:
        WeightsError: They do, or a tensor is sparse.
    """
    storages: dict[int, int] = {}
    copied = 0
    for tensor in tensors:
        if tensor.layout != torch.strided:
            raise WeightsError(f"{path} has a sparse tensor, and weights are dense ones")
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        copied += 0 if tensor.is_contiguous() else tensor.numel() * tensor.element_size()
    size = sum(storages.values())
    if copied > most_content(size):
        raise WeightsError(
            f"{path}: its tensors take {copied:,} bytes, and the file has {size:,}: they repeat the same numbers"
        )


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors without gradients, contiguous, under keys without the prefixes of wrappers."""
    keys = list(state)
    while prefix := next((p for p in PREFIXES if keys and all(str(key).startswith(p) for key in keys)), None):
        keys = [key[len(prefix) :] for key in keys]
    return {key: tensor.detach().contiguous() for key, tensor in zip(keys, state.values(), strict=True)}
