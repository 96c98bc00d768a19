"""A pickle module for `torch.load` that rebuilds tensors and replaces all other objects by inert ones; nothing is run.

Training scripts save their configuration beside the weights (yacs' CfgNode, argparse.Namespace, numpy scalars). PyTorch's
`weights_only=True` refuses such a file as a whole; here the tensors are read, and every class or function that is not among
`ALLOWED` becomes `Inert`, whatever its name. A file that asks for `exec` gets an empty dict.
"""

import io
import pickle
from collections import OrderedDict
from pickle import dump, dumps  # noqa: F401  (torch.load asks its pickle module for these names.)
from typing import IO, Any

import torch
from torch._utils import _rebuild_parameter, _rebuild_tensor, _rebuild_tensor_v2

ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): torch.Size,
}
"""(module, name) in the file -> what is used for it."""


class Inert(dict):  # type: ignore[type-arg]
    """Stands for an object of a class that is not allowed: accepts any argument and state, and ignores it.

    It keeps the items of a subclass of dict, and ignores those of a list or set.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "Inert":
        return Inert()

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def append(self, item: object) -> None:
        """Ignores an item, which unpickling a subclass of list appends."""

    def extend(self, items: object) -> None:
        """Ignores items, which unpickling a subclass of list appends."""

    def add(self, item: object) -> None:
        """Ignores an item, which unpickling a subclass of set adds."""


_STORAGES = {
    name: getattr(torch, name)
    for name in dir(torch)
    if name.endswith("Storage") and name not in ("TypedStorage", "UntypedStorage") and isinstance(getattr(torch, name), type)
}


class Unpickler(pickle.Unpickler):
    """Unpickles with `ALLOWED`, the storages of PyTorch, and `Inert` for all others."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what the file's `module.name` stands for; never imports anything."""
        if module in ("torch", "torch.cuda") and name in _STORAGES:
            return _STORAGES[name]
        return ALLOWED.get((module, name), Inert)


def load(file: IO[bytes], **options: Any) -> Any:
    """Returns the next object of a file, as `pickle.load` does, read by `Unpickler`.

    Files older than torch 1.6 begin with three objects that `torch.load` reads by this function.

    Raises:
        pickle.UnpicklingError: The file is corrupt. As with `pickle.load`, other errors such as EOFError are possible.
    """
    return Unpickler(file, **options).load()


def loads(data: bytes, **options: Any) -> Any:
    """Returns the object in the bytes, as `pickle.loads` does, read by `Unpickler`.

    Raises:
        pickle.UnpicklingError: The bytes are corrupt; other errors are possible, as with `load`.
    """
    return load(io.BytesIO(data), **options)
