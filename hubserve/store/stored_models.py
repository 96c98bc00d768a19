"""The versions of our models in BentoML's model store: listing, finding by name or tag, and which one is the newest."""

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from operator import attrgetter
from pathlib import Path

from hubserve.atomic import write_atomic
from hubserve.errors import ModelNotFoundError, PackageError, StoreError, suggest
from hubserve.package.package import MANIFEST, Package, read_package
from hubserve.sequence_number import read_number
from hubserve.storage_faults import denied, is_there, storage_error
from hubserve.store.bentoml_store import LATEST, MODEL_YAML, models_folder, read_description, staging_folder

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
"""The pattern of names and versions that the store allows; "latest" is refused in addition."""


@dataclass(frozen=True)
class StoredModel:
    """One version of a model in the store.

    Attributes:
        tag: "name:version".
        path: Folder of its package.
        created: When it was published, by the clock of that machine.
        number: Place in the order in which the versions of this store were published; 0 where it is not known.
        problem: Why this user may not read it; empty where it may be read. `created` is the time of its folder then, and
            the tag is "name:latest" where not even the versions of a name can be listed.
    """

    tag: str
    path: Path
    created: datetime
    number: int = 0
    problem: str = ""

    @property
    def name(self) -> str:
        """The tag without its version."""
        return self.tag.partition(":")[0]

    @cached_property
    def package(self) -> Package:
        """The package, read from disk once; raises PackageError where it is incomplete or not readable for this user."""
        if self.problem:
            raise PackageError(f"{self.tag} cannot be read: {self.problem}")
        return read_package(self.path)


def list_models() -> list[StoredModel]:
    """All versions of all our models, last published first; also those that this user may not read, with a `problem`.

    Raises:
        StoreError: The store is not a folder.
        StorageError: This user may not list it.
    """
    return _listed("*")


def stamp() -> tuple[tuple[str, int], ...]:
    """A value that differs after each publish and delete, read from the folder entries alone."""
    try:
        with os.scandir(models_folder()) as entries:
            return tuple(sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries))
    except OSError:
        return ()


def bentoml_home() -> Path:
    """Returns BentoML's folder: BENTOML_HOME, or ~/bentoml if that is not set.

    It holds the folder of models and the file of aliases.

    Raises:
        StoreError: This user cannot have such a folder.
    """
    return models_folder().parent


def resolve(tag: str) -> StoredModel:
    """The model of that name or tag.

    Args:
        tag: "name:version"; "name" or "name:latest" means the newest version.

    Raises:
        ModelNotFoundError: There is none; the message has the nearest names.
    """
    name, colon, version = tag.partition(":")
    if NAME.fullmatch(name) and (not colon or NAME.fullmatch(version)):
        stored = _newest(name) if version in ("", "latest") else read_version(models_folder() / name / version)
        if stored is not None:
            return stored
    raise ModelNotFoundError(_not_found(tag, name, version))


def read_version(folder: Path) -> StoredModel | None:
    """The version in a folder of a store; None where it is incomplete, not ours, or not there."""
    for name in (MODEL_YAML, MANIFEST):
        if problem := denied(folder / name):
            return _unreadable(folder, f"{folder.parent.name}:{folder.name}", problem)
    found = read_description(folder)
    if found is None or not (folder / MANIFEST).is_file():
        return None
    return StoredModel(found.tag, folder, found.created, read_number(folder))


def point_latest(version: Path) -> None:
    """Records the version in this folder as the newest of its model, as BentoML does."""
    write_atomic(version.parent / LATEST, version.name, staging=staging_folder())


def update_latest(folder: Path) -> None:
    """Records the version of a model's folder that was published last as the newest; a folder without versions is removed."""
    listed = _listed(folder.name)
    models = [model for model in listed if not model.problem]
    if models:
        if _recorded_latest(folder) != models[0].path.name:
            point_latest(models[0].path)
    elif not listed and not any(entry.is_dir() for entry in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def _listed(name: str) -> list[StoredModel]:
    """Our complete versions under `name`, which may be a pattern, newest first."""
    root = models_folder()
    check_readable()
    found: list[StoredModel | None] = list(map(read_version, version_folders(root, name)))
    for folder in _folders(root, name):
        if problem := denied(folder):
            found.append(_unreadable(folder, f"{folder.name}:latest", problem))
    # By number first: a clock may have been wrong.
    order = attrgetter("number", "created")
    return sorted((model for model in found if model is not None), key=order, reverse=True)


def check_readable() -> None:
    """Checks that the store, if there is one, can be listed.

    Raises:
        StoreError: It is not a folder.
        StorageError: This user may not list it.
    """
    root = models_folder()
    try:
        with os.scandir(root):
            pass
    except FileNotFoundError:
        pass
    except NotADirectoryError as error:
        raise StoreError(f"the model store {root} is not a folder; BENTOML_HOME names the folder above it") from error
    except OSError as error:
        raise storage_error(error, root) or error from error


def version_folders(root: Path, name: str = "*") -> list[Path]:
    """The folders of complete versions in a store, ours or not; also those into which this process may not look."""
    return [version for folder in _folders(root, name) for version in _folders(folder) if is_there(version / MODEL_YAML)]


def _folders(parent: Path, name: str = "*") -> list[Path]:
    """What is in a folder under `name`, or under any visible name; nothing where it cannot be listed."""
    if name != "*":
        return [parent / name]
    with suppress(OSError):
        return [parent / found for found in sorted(os.listdir(parent)) if not found.startswith(".")]
    return []


def _unreadable(folder: Path, tag: str, problem: str) -> StoredModel:
    try:
        changed = folder.stat().st_mtime
    except OSError:
        changed = 0.0
    return StoredModel(tag, folder, datetime.fromtimestamp(changed, UTC), problem=problem)


def _newest(name: str) -> StoredModel | None:
    """The version that was published last: the same one as in `list_models`, whatever BentoML has recorded."""
    return next(iter(_listed(name)), None)


def _recorded_latest(folder: Path) -> str:
    """The version that is recorded as the newest; "" without a record."""
    try:
        return (folder / LATEST).read_text().strip()
    except OSError:
        return ""


def _not_found(tag: str, name: str, version: str) -> str:
    models = list_models()
    versions = [model.tag for model in models if model.name == name]
    if version and versions:
        return f"the store has no {tag!r}. {suggest(tag, versions)}"
    if not models:
        return f"the store has no {tag!r}: it is empty. `hubserve publish efficientnet-lite0` fills it"
    return f"the store has no {tag!r}. {suggest(name, {model.name for model in models})}"
