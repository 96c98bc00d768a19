"""`source_digest`, a hash of the code of a strategy, by which results of a changed strategy are recognised."""

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from hubserve.find_named import import_folder

OURS = "hubserve.strategy."
"""Beginning of the names of our modules that belong to strategies."""


def source_digest(kind: Callable[..., Any]) -> str:
    """Returns a SHA-256, in hexadecimal, of the source files of a class or function and of the modules that they use.

    These are the module of `kind`, those of its base classes, and the modules that these import, as far as they belong to
    `hubserve.strategy`, to the same top-level package as `kind`, or lie below the working folder. Other libraries count with
    the version that the top-level package of `kind` names, if any.
    """
    top = kind.__module__.partition(".")[0]
    waiting = [base.__module__ for base in inspect.getmro(kind)] if inspect.isclass(kind) else [kind.__module__]
    seen: dict[str, bytes] = {}
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        if name in seen or module is None or not _belongs(module, top):
            continue
        seen[name] = _source(module)
        waiting.extend(_imported(module))
    version = "" if top == "hubserve" else getattr(sys.modules.get(top), "__version__", "")
    digest = hashlib.sha256(repr((kind.__module__, str(version))).encode())
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + hashlib.sha256(seen[name]).digest())
    return digest.hexdigest()


def _belongs(module: ModuleType, top: str) -> bool:
    name, file = module.__name__, getattr(module, "__file__", None)
    if name.partition(".")[0] == "hubserve":
        return name.startswith(OURS)
    if file is None or "site-packages" in Path(file).parts:
        return False
    return name.partition(".")[0] == top or Path(file).is_relative_to(import_folder())


def _source(module: ModuleType) -> bytes:
    try:
        return Path(str(module.__file__)).read_bytes()
    except OSError:
        return b""


def _imported(module: ModuleType) -> Iterator[str]:
    """Yields the names of the modules whose objects are global variables of `module`."""
    for value in list(vars(module).values()):
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(name, str):
            yield name
