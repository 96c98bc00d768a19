"""`CodeSource`: the record of where code of a user's own comes from; finds and hashes its source without importing it."""

import json
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from hubserve.find_named import IMPORT_PATH
from hubserve.module_files import file_hash, imported_modules, locate_module

MOST_CHANGES = 3
"""Largest number of changed modules that a message names, besides the module itself."""


class CodeSource(BaseModel):
    """Where a class or function of a user's own comes from.

    Attributes:
        import_path: Its module and name, such as "mypkg.spaces:Small".
        distribution: Name of the installed distribution that the module belongs to; None for a module that is not installed.
        version: Version of that distribution; None without one.
        sha256: SHA-256 of the source file of the module, in hexadecimal.
        modules: SHA-256 of the source file of each other module of its top-level package that it imports, directly or through
            others, by the name of the module. It is empty for an installed distribution, whose version stands for them, and in
            packages of earlier versions of hubserve.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    import_path: str = Field(pattern=f"^{IMPORT_PATH.pattern}$")
    distribution: str | None = None
    version: str | None = None
    sha256: str
    modules: dict[str, str] = {}

    @model_serializer(mode="wrap")
    def _without_empty_modules(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Returns the fields that are written; without `modules` if there are none, as earlier versions know no such key."""
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if name != "modules" or value}

    @property
    def module(self) -> str:
        """Name of the module."""
        return self.import_path.partition(":")[0]

    def change(self, file: Path) -> str | None:
        """Returns a phrase that says how the sources differ from the recorded ones; None if they are the same.

        Args:
            file: The source file of the module; those of `modules` are looked for.

        Raises:
            OSError: A source file cannot be read.
        """
        found = file_hash(file)
        others = [change for name, before in self.modules.items() if (change := _change_of(name, before)) is not None]
        more = [f"and {len(others) - MOST_CHANGES} more modules"] if len(others) > MOST_CHANGES else []
        if found == self.sha256:
            return "; ".join(others[:MOST_CHANGES] + more) or None
        owner = _distribution(self.module, file)
        version = None if owner is None else owner.version
        versions = f", and {self.distribution} is {version} where it was {self.version}" if version != self.version else ""
        own = f"{file} has the SHA-256 {found[:12]} where it was {self.sha256[:12]}{versions}"
        return "; ".join([own, *others[:MOST_CHANGES], *more])


def source_of_code(import_path: str) -> CodeSource | None:
    """Returns the record of what `import_path`, "module:name", leads to; None if its module has no file.

    Only the module is looked for: whether it has the name is not checked. Raises OSError if a source file cannot be read.
    """
    module = import_path.partition(":")[0]
    file = locate_module(module)
    if file is None:
        return None
    owner = _distribution(module, file)
    is_installed = owner is not None and not _is_editable(owner, file)
    others = {} if is_installed else imported_modules(module)
    return CodeSource(
        import_path=import_path,
        distribution=None if owner is None else owner.name,
        version=None if owner is None else owner.version,
        sha256=file_hash(file),
        modules={name: file_hash(path) for name, path in others.items()},
    )


def _change_of(module: str, before: str) -> str | None:
    """Returns a phrase that says how the source of a module differs from the one with the SHA-256 `before`; None if not."""
    file = locate_module(module)
    if file is None or not file.is_file():
        return f"the module {module} is missing"
    found = file_hash(file)
    return None if found == before else f"{file} has the SHA-256 {found[:12]} where it was {before[:12]}"


def import_path_of(thing: Any) -> str | None:
    """Returns the import path of a class or function; None if it cannot be imported elsewhere.

    That is so for those of scripts and notebooks, and for those that are defined inside a function.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    found: Any = None if module in (None, "__main__") else sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is thing and found is not None else None


def _distribution(module: str, file: Path) -> Distribution | None:
    """Returns the installed distribution that the file of a module belongs to; None if it belongs to none."""
    for name in packages_distributions().get(module.partition(".")[0], ()):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        files = (Path(str(found.locate_file(entry))) for entry in found.files or () if entry.name == file.name)
        if any(path.exists() and path.samefile(file) for path in files) or _is_editable(found, file):
            return found
    return None


def _is_editable(found: Distribution, file: Path) -> bool:
    """Returns whether a distribution was installed with `pip install -e` from a folder that holds `file`."""
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    folder = unquote(urlsplit(origin.get("url", "")).path)
    return bool(origin.get("dir_info", {}).get("editable")) and bool(folder) and file.resolve().is_relative_to(folder)
