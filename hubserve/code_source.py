"""`CodeSource`: the record of where code of a user's own comes from; finds and hashes its source without importing it."""

import hashlib
import importlib.util
import json
import sys
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from hubserve.own_code import IMPORT_PATH, import_folder


class CodeSource(BaseModel):
    """Where a class or function of a user's own comes from.

    Attributes:
        import_path: Its module and name, such as "mypkg.spaces:Small".
        distribution: Name of the installed distribution that the module belongs to; None for a module that is not installed.
        version: Version of that distribution; None without one.
        sha256: SHA-256 of the source file of the module, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    import_path: str = Field(pattern=f"^{IMPORT_PATH.pattern}$")
    distribution: str | None = None
    version: str | None = None
    sha256: str

    @property
    def module(self) -> str:
        """Name of the module."""
        return self.import_path.partition(":")[0]

    def change(self, file: Path) -> str | None:
        """Returns a phrase that says how the source in `file` differs from the recorded one; None if it is the same."""
        found = file_hash(file)
        if found == self.sha256:
            return None
        owner = _distribution(self.module, file)
        version = None if owner is None else owner.version
        versions = f", and {self.distribution} is {version} where it was {self.version}" if version != self.version else ""
        return f"{file} has the SHA-256 {found[:12]} where it was {self.sha256[:12]}{versions}"


def source_of_code(import_path: str) -> CodeSource | None:
    """Returns the record of what `import_path` leads to; None if its module has no file."""
    module = import_path.partition(":")[0]
    file = locate_module(module)
    if file is None:
        return None
    owner = _distribution(module, file)
    return CodeSource(
        import_path=import_path,
        distribution=None if owner is None else owner.name,
        version=None if owner is None else owner.version,
        sha256=file_hash(file),
    )


def import_path_of(thing: Any) -> str | None:
    """Returns the import path of a class or function; None if it cannot be imported elsewhere.

    That is so for those of scripts and notebooks, and for those that are defined inside a function.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    found: Any = None if module in (None, "__main__") else sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is thing and found is not None else None


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
    """Whether a distribution was installed with `pip install -e` from a folder that holds `file`."""
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    folder = unquote(urlsplit(origin.get("url", "")).path)
    return bool(origin.get("dir_info", {}).get("editable")) and bool(folder) and file.resolve().is_relative_to(folder)
