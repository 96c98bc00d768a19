"""Accesses BentoML's model store: its folders, new versions, descriptions of versions, and archives of exported versions.

It is the only module that imports private modules of BentoML; they exist in the versions of bentoml that pyproject.toml allows.

BentoML writes a new version file by file. So it writes to a second store on the same disk here, and
`hubserve.store.publishing` moves the version into the real store by one rename.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import bentoml
import yaml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models.model import Model, ModelStore
from bentoml.exceptions import BentoMLException

from hubserve.atomic import staged_folder
from hubserve.errors import StoreError
from hubserve.storage_faults import FULL, denial, is_there, storage_error, writing
from hubserve.store.archive import unpack

__all__ = ["BentoMLContainer", "ModelStore"]

MODULE = "hubserve"
"""The entry `module` in BentoML's description of the models of hubserve; other models in the store have another one."""

MODEL_YAML, LATEST = "model.yaml", "latest"
"""Names of BentoML's files: the description in the folder of a version, and the file beside the versions that names the newest
version."""


@dataclass(frozen=True)
class Description:
    """The content of BentoML's description of a version.

    Attributes:
        tag: Tag of the version, "name:version".
        created: Time when the version was published.
    """

    tag: str
    created: datetime


def models_folder() -> Path:
    """Returns the folder of the model store, which has a folder for each model with a folder for each version in it.

    BentoML makes its folders if they are missing; if it cannot write to an existing BENTOML_HOME, the folder may not exist.

    Raises:
        StoreError: BENTOML_HOME does not exist and cannot be made, or is not a folder, or this user has no home directory.
    """
    try:
        return Path(BentoMLContainer.model_store_dir.get())
    except OSError as error:
        home = Path(os.environ.get("BENTOML_HOME") or "~/bentoml").expanduser()
        if error.errno in (errno.EROFS, errno.EACCES, *FULL) and is_there(home):
            return home / "models"  # BentoML makes folders beside it, which reading does not need.
        raise StoreError(
            f"BENTOML_HOME is {home}, and no folder can be there ({error.strerror or error}): name one that can be written"
        ) from error
    except RuntimeError as error:
        raise StoreError("this user has no home directory: set BENTOML_HOME to a folder that can be written") from error


def check_folders() -> None:
    """Checks that the folders which BentoML's server needs in BENTOML_HOME exist, and makes those that are missing.

    Raises:
        StoreError: A folder cannot be made; the message names it.
    """
    try:
        BentoMLContainer.bentoml_home.get()
    except OSError as error:
        raise StoreError(
            f"BentoML cannot make a folder that its server needs in BENTOML_HOME: {error.strerror}: {error.filename}; "
            "the owner of BENTOML_HOME makes them all by `hubserve models`"
        ) from error


def staging_folder() -> Path:
    """Returns a folder for unfinished files in BENTOML_HOME, outside of the model store; makes it if it is missing.

    Raises:
        StoreError: BENTOML_HOME cannot be used; see `models_folder`.
        OSError: The folder cannot be made (StorageError for a full, read-only or forbidden disk).
    """
    models = models_folder()
    with writing(models.parent):
        folder = Path(BentoMLContainer.tmp_bento_store_dir.get())
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def bundled_models_folder() -> Path:
    """Returns the folder from which BentoML serves models: the one in the bento that is served, or else the model store."""
    return Path(BentoMLContainer.model_store.get()._path)


def read_description(folder: Path) -> Description | None:
    """Returns BentoML's description of the version in `folder`; None if there is none, or it is not of a model of hubserve.

    Errors while it is read also give None.
    """
    try:
        model = Model.from_path(folder)
    except Exception:  # Whatever is wrong with it, it is not a version of ours.
        return None
    return Description(str(model.tag), model.info.creation_time) if model.info.module == MODULE else None


@contextmanager
def new_version(scratch: Path, tag: str, labels: Mapping[str, str], metadata: Mapping[str, Any]) -> Iterator[Path]:
    """Context manager that makes a version of a model in a new store; yields its folder, which the block fills with files.

    At the end of the block BentoML writes its description, and the version is complete in `scratch`/name/version.

    Args:
        scratch: Folder of the new store.
        tag: Tag of the version, "name:version".
        labels: Labels that BentoML stores with the version.
        metadata: Metadata that BentoML stores with the version.
    """
    with bentoml.models.create(
        tag, module=MODULE, labels=dict(labels), metadata=dict(metadata), _model_store=ModelStore(scratch)
    ) as model:
        yield Path(model.path)


def write_archive(tag: str, path: Path) -> Path:
    """Writes a version of the store as one file and returns the path of the file.

    Args:
        tag: Tag of the version, "name:version".
        path: File to write; an existing one is replaced. Its suffix (.tar, .gz, .bz2, .xz or .zip) decides about the format; to
            other names ".bentomodel" is appended. If it is a folder, BentoML chooses the name of a file in it.

    Raises:
        StoreError: The folder of the file does not exist, or BentoML cannot write the file.
        StorageError: The disk is full or read-only, or this user has no permission; no file is left.
    """
    path = path.resolve()
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise StoreError(f"cannot write {tag} to {path}: there is no such folder")
    try:
        # BentoML itself would leave half a file.
        with staged_folder(folder, "store-export") as stage:
            written = Path(bentoml.models.export_model(tag, str(stage if path.is_dir() else stage / path.name)))
            return Path(shutil.move(written, folder / written.name))
    except (BentoMLException, OSError) as error:
        fault = storage_error(error, None if denial(error) else path)
        raise fault or StoreError(f"cannot write {tag} to {path}: {error}") from error


def read_archive(path: Path, scratch: Path) -> tuple[str, str, Path]:
    """Unpacks a file that `write_archive` wrote into the empty folder `scratch`.

    Returns:
        The name of the model, its version, and `scratch`.

    Raises:
        StoreError: The file is not such an archive, cannot be read, or exceeds a limit of `hubserve.store.archive`.
        StorageError: The disk is full or read-only, or this user has no permission.
    """
    unpack(path, scratch)
    try:
        described = yaml.load((scratch / MODEL_YAML).read_bytes(), Loader=_PlainLoader)
        return str(described["name"]), str(described["version"]), scratch
    except (OSError, ValueError, yaml.YAMLError, RecursionError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is not a model that was exported from a store: it has no readable {MODEL_YAML}") from error


class _PlainLoader(yaml.SafeLoader):
    """A YAML loader that raises YAMLError for references, by which a short text can describe huge data."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references are not allowed")
        return super().compose_node(parent, index)
