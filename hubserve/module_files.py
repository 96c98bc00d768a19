"""Finds the source files of Python modules, and of the modules that they import, without running any code."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from hubserve.find_named import import_folder


def locate_module(name: str) -> Path | None:
    """Returns the file from which the module `name` is, or would be, imported; None if there is none. No code is run."""
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
        return None if file is None else Path(file)
    top, *rest = name.split(".")
    try:
        spec = PathFinder.find_spec(top, [str(import_folder())]) or importlib.util.find_spec(top)
        for i in range(len(rest)):
            places = None if spec is None else spec.submodule_search_locations
            spec = None if places is None else PathFinder.find_spec(".".join((top, *rest[: i + 1])), list(places))
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.has_location else None


def file_hash(file: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal. Raises OSError if it cannot be read."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def imported_modules(module: str) -> dict[str, Path]:
    """Returns the modules of its top-level package that a module imports, directly or through others, with their files.

    These are all import statements in the sources, also those in functions, and the packages that hold a module, whose
    `__init__.py` runs, too. Modules that are imported by name at run time, as with importlib, are not found.

    Args:
        module: Name of the module, such as "mypkg.spaces". It is not among those that are returned.
    """
    found: dict[str, Path] = {}
    waiting, seen = [module], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = locate_module(name)
        if file is not None:
            found[name] = file
            waiting += [other for other in _named_in(name, file) if _top(other) == _top(module)]
        waiting += [parent for parent in (name.rpartition(".")[0],) if parent]
    found.pop(module, None)
    return dict(sorted(found.items()))


def _top(module: str) -> str:
    return module.partition(".")[0]


def _named_in(module: str, file: Path) -> Iterator[str]:
    """Yields the names of modules in the import statements of a source file; some may name other things than modules."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # No Python source, such as a compiled module.
        return
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _base(node: ast.ImportFrom, package: str) -> str:
    """Returns the module after `from`; empty if a relative import leaves the top-level package.

    Args:
        node: The import statement.
        package: Package that holds the importing module.
    """
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    above = parts[: len(parts) - (node.level - 1)]
    return ".".join([*above, *([node.module] if node.module else [])]) if len(parts) >= node.level else ""
