"""Lists the versions of models in the store, finds them by name or tag, and records which version is the newest."""

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
from hubserve.errors import ModelNotFoundError, PackageError, StoreError
from hubserve.package.package import MANIFEST, Package, read_package
from hubserve.sequence_number import read_number
from hubserve.similar_names import suggest
from hubserve.storage_faults import denied, is_there, storage_error
from hubserve.store.bentoml_store import LATEST, MODEL_YAML, models_folder, read_description, staging_folder

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
"""The pattern of the names and versions that the store allows, except "latest"."""


@dataclass(frozen=True)
class StoredModel:
    """One version of a model in the store.

    Attributes:
        tag: Tag of the version, "name:version".
        path: Folder of the version, which is that of its package, too.
        created: Time when it was published, by the clock of the machine that published it.
        number: Place in the order in which the versions of this store were published, from 1; 0 if it is not known.
        problem: Reason why this user may not read the version; empty if this user may. If there is a problem, `created` is the
            modification time of the folder; and if even the versions of a model cannot be listed, one entry with the tag
            "name:latest" stands for all of them.
    """

    tag: str
    path: Path
    created: datetime
    number: int = 0
    problem: str = ""

    @property
    def name(self) -> str:
        """Name of the model: the tag without the version."""
        return self.tag.partition(":")[0]

    @cached_property
    def package(self) -> Package:
        """The package of the version, read from the disk at the first access.

        Raises:
            PackageError: The package is incomplete, or this user may not read it.
        """
        if self.problem:
            raise PackageError(f"{self.tag} cannot be read: {self.problem}")
        return read_package(self.path)


def list_models() -> list[StoredModel]:
    """Returns all versions of all models of hubserve, the last published one first.

    Versions that this user may not read are included, with a `problem`. Models of other programs in the store are not.

    Raises:
        StoreError: The store is not a folder, or cannot be made.
        StorageError: This user may not list the store.
    """
    return _listed("*")


def stamp() -> tuple[tuple[str, int], ...]:
    """Returns a value that changes with each publish and each delete: the names and change times of the models' folders.

    It is empty if the store does not exist or cannot be listed.

    Raises:
        StoreError: BENTOML_HOME cannot be used.
    """
    try:
        with os.scandir(models_folder()) as entries:
            return tuple(sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries))
    except OSError:
        return ()


def bentoml_home() -> Path:
    """Returns BentoML's folder: BENTOML_HOME, or ~/bentoml if that is not set.

    It holds the folder of models and the file of aliases.

    Raises:
        StoreError: The folder does not exist and cannot be made, or is not a folder, or this user has no home directory.
    """
    return models_folder().parent


def resolve(tag: str) -> StoredModel:
    """Returns the version with a tag, or the newest version of a model. Aliases are not known here.

    A version that this user may not read is returned, too, with a `problem`.

    Args:
        tag: Tag of the version, "name:version"; "name" or "name:latest" means the newest version.

    Raises:
        ModelNotFoundError: There is no such version; the message has the nearest names.
        StoreError: The store is not a folder, or cannot be made.
        StorageError: This user may not list the store.
    """
    name, colon, version = tag.partition(":")
    if NAME.fullmatch(name) and (not colon or NAME.fullmatch(version)):
        stored = _newest(name) if version in ("", "latest") else read_version(models_folder() / name / version)
        if stored is not None:
            return stored
    raise ModelNotFoundError(_not_found(tag, name, version))


def read_version(folder: Path) -> StoredModel | None:
    """Returns the version in a folder of a store; None if there is none, it is incomplete, or it is not a model of hubserve.

    If this user may not read it, a version with a `problem` is returned.
    """
    for name in (MODEL_YAML, MANIFEST):
        if problem := denied(folder / name):
            return _unreadable(folder, f"{folder.parent.name}:{folder.name}", problem)
    found = read_description(folder)
    if found is None or not (folder / MANIFEST).is_file():
        return None
    return StoredModel(found.tag, folder, found.created, read_number(folder))


def point_latest(version: Path) -> None:
    """Records the version in the folder `version` as the newest of its model, in the file that BentoML reads.

    Raises:
        OSError: The file cannot be written.
    """
    write_atomic(version.parent / LATEST, version.name, staging=staging_folder())


def update_latest(folder: Path) -> None:
    """Records the last published version of a model that this user may read as the newest.

    If the model has no versions, and no incomplete ones either, its folder is removed.

    Args:
        folder: Folder of the model.

    Raises:
        OSError: The store cannot be listed, or the record cannot be written.
    """
    listed = _listed(folder.name)
    models = [model for model in listed if not model.problem]
    if models:
        if _recorded_latest(folder) != models[0].path.name:
            point_latest(models[0].path)
    elif not listed and not any(entry.is_dir() for entry in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def _listed(name: str) -> list[StoredModel]:
    """Returns the complete versions of the model `name`, the last published one first; "*" means all models.

    Raises:
        StoreError: The store is not a folder, or cannot be made.
        StorageError: This user may not list the store.
    """
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
    """Checks that this user can list the store; a store that does not exist yet passes.

    Raises:
        StoreError: The store is not a folder, or cannot be made.
        StorageError: This user may not list the store.
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
    """Returns the folders in a store that hold a version of a model of any program.

    Folders that this process may not read are included.

    Args:
        root: Folder of the store.
        name: Name of a model; "*" means all models.
    """
    return [version for folder in _folders(root, name) for version in _folders(folder) if is_there(version / MODEL_YAML)]


def _folders(parent: Path, name: str = "*") -> list[Path]:
    """Returns the path `parent`/`name`; for "*" those of all entries of `parent` that are not hidden, sorted.

    The list is empty if `parent` cannot be listed.
    """
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
    """Returns the version of the model `name` that was published last; None if there is none.

    BentoML's own record of the newest version is not used.
    """
    return next(iter(_listed(name)), None)


def _recorded_latest(folder: Path) -> str:
    """Returns the version that the file in a model's folder records as the newest; "" if there is no such file."""
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
