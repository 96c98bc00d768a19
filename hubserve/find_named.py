"""Finds spaces, strategies, data sets and evaluators by name: those of hubserve, of entry points, or by import path.

An import path is `module:attribute`, such as `mypkg.spaces:Small`. Its module is looked for in the working folder first, as
`python -m` does, and then where Python looks for modules. Importing it runs its code.
"""

import importlib
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from hubserve.errors import HubserveError
from hubserve.similar_names import suggest

T = TypeVar("T")

IMPORT_PATH = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", re.ASCII)

ALLOWING_VARIABLE = "HUBSERVE_ALLOW_IMPORT_PATHS"

REFUSED_OVER_HTTP = (
    "only what hubserve itself has may be named over HTTP: importing other code runs it on the server; its operator allows "
    f"that with {ALLOWING_VARIABLE}=1"
)
"""End of the message for code that a request over HTTP names."""


@dataclass(frozen=True)
class NamedKind:
    """A kind of object that is found by its name.

    Attributes:
        group: Group of the entry points of this kind.
        unknown: Beginning of the message for an unknown name, such as "no model space is called".
        error: Class of the errors that `find_named` raises for this kind.
        problem: Returns what is wrong with an object that a name of the user's own led to, as the end of a sentence that
            begins with the name; None if the object is of this kind.
    """

    group: str
    unknown: str
    error: type[HubserveError]
    problem: Callable[[Any], str | None]


def is_import_path(name: str) -> bool:
    """Returns whether `name` is written like an import path, `module:attribute`."""
    return IMPORT_PATH.fullmatch(name) is not None


def find_named(name: str, known: Mapping[str, T], kind: NamedKind, *, refused: str | None = None) -> T:
    """Returns the object that `name` means: an entry of `known`, else an entry point, else the object at an import path.

    Args:
        name: The name, or an import path.
        known: The objects of hubserve, by name.
        kind: Kind of the object.
        refused: Reason for which other code than that of `known` is not imported, for the message; None imports it.

    Raises:
        HubserveError: Of the class `kind.error`: there is no such name, module or attribute, other code is refused, importing
            it raised an exception, or the object is of another kind.
    """
    if name in known:
        return known[name]
    own = {} if is_import_path(name) else _entry_points(kind)
    if not is_import_path(name) and name not in own:
        raise kind.error(f"{kind.unknown} {name!r}. {suggest(name, [*known, *own])}{_hint(name)}")
    if refused is not None:
        raise kind.error(f"{name}: {refused}")
    found = _load(name, own[name].value, kind) if name in own else _load(name, name, kind)
    problem = kind.problem(found)
    if problem is not None:
        raise kind.error(f"{name} {problem}")
    return found  # type: ignore[no-any-return]


def entry_point_names(kind: NamedKind) -> list[str]:
    """Returns the names of the entry points of a kind that installed distributions have, sorted; nothing is imported."""
    return sorted(_entry_points(kind))


def _entry_points(kind: NamedKind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=kind.group)}


def _hint(name: str) -> str:
    """Returns a sentence for a name that looks like an import path with a dot in place of the colon; else an empty text."""
    module, dot, attribute = name.rpartition(".")
    return f" An import path has a colon: {module}:{attribute}." if dot and is_import_path(f"{module}:{attribute}") else ""


_folder: Path | None = None


@contextmanager
def importing_from(folder: Path | None) -> Iterator[None]:
    """Context manager in which modules of import paths are looked for in `folder` first; None is the working folder.

    Processes that are started after such an import, also after the block, find the module, too.
    """
    global _folder
    before, _folder = _folder, None if folder is None else folder.absolute()
    try:
        yield
    finally:
        _folder = before


def import_folder() -> Path:
    """Returns the folder in which modules of import paths are looked for first."""
    return _folder or Path.cwd()


def _add_folder() -> None:
    """Puts the folder at the front of `sys.path`, and of PYTHONPATH for processes that this one starts."""
    folder = str(import_folder())
    if folder not in sys.path and not ("" in sys.path and folder == str(Path.cwd())):
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    handed_on = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folder not in handed_on:
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, handed_on)])


def _load(name: str, path: str, kind: NamedKind) -> Any:
    """Imports and returns what the import path `path` leads to; `name` is what the user wrote, for the `kind.error` raised."""
    parts = IMPORT_PATH.fullmatch(path)
    if parts is None:
        raise kind.error(f"{name} is an entry point of the group {kind.group} with {path!r}, and that is no import path")
    if name == path:
        _add_folder()
    found: Any = _imported(name, parts[1], kind)
    for attribute in parts[2].split("."):
        if not hasattr(found, attribute):
            near = [known for known in vars(found) if not known.startswith("_")] if hasattr(found, "__dict__") else []
            raise kind.error(f"{name}: {parts[1]} has no {attribute!r}. {suggest(attribute, near)}")
        found = getattr(found, attribute)
    return found


def _imported(name: str, module: str, kind: NamedKind) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module != missing and not module.startswith(f"{missing}."):
            raise kind.error(f"{name}: {module} imports {missing}, which is not installed") from error
        near = _near_modules(missing)
        raise kind.error(
            f"{name}: there is no module {missing!r}, neither in {import_folder()} nor among the installed ones.{near} Work in "
            "the folder that holds it, or name that folder in PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:
        raise kind.error(f"{name}: importing {module} raised {type(error).__name__}: {error}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """Returns the file and line that raised an error, in parentheses; empty if that is not known."""
    if isinstance(error, SyntaxError):
        return ""  # Its message has them.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""


def _near_modules(missing: str) -> str:
    """Returns a sentence with the modules whose names are similar to that of a missing one; empty if there is none."""
    parent, _, _ = missing.rpartition(".")
    paths: Iterable[str] = getattr(sys.modules.get(parent), "__path__", []) if parent else [str(import_folder())]
    names = [f"{parent}.{found.name}" if parent else found.name for found in pkgutil.iter_modules(list(paths))]
    sentence = suggest(missing, names)
    return f" {sentence}" if sentence.startswith("Did") else ""
