"""The only module that knows BentoML's own modules: where its model store lies, and how a version is laid out in it.

BentoML's `save` copies file by file into the final place; here it writes to a second store on the same disk, and `publishing`
renames. The private modules below hold for the versions of bentoml that pyproject.toml allows.
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
"""Marks our models among others in BentoML's store."""

MODEL_YAML, LATEST = "model.yaml", "latest"
"""BentoML's description of a version, in its folder; and the file beside the versions that names the newest one."""


@dataclass(frozen=True)
class Description:
    """What BentoML's description of a version says.

    Attributes:
        tag: "name:version".
        created: When the version was published.
    """

    tag: str
    created: datetime


def models_folder() -> Path:
    """The folder of the model store; it holds one folder per name, with one folder per version."""
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
    """Checks that BentoML has, or can make, its folders beside that of the models, without which its server does not start.

    Raises:
        StoreError: It cannot; the message has the folder and its owner.
    """
    try:
        BentoMLContainer.bentoml_home.get()
    except OSError as error:
        raise StoreError(
            f"BentoML cannot make a folder that its server needs in BENTOML_HOME: {error.strerror}: {error.filename}; "
            "the owner of BENTOML_HOME makes them all by `hubserve models`"
        ) from error


def staging_folder() -> Path:
    """A folder on the store's disk that is not part of the store; made where it is missing."""
    models = models_folder()
    with writing(models.parent):
        folder = Path(BentoMLContainer.tmp_bento_store_dir.get())
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def bundled_models_folder() -> Path:
    """The folder of the models that BentoML serves from: beside the code of a bento, else the store's own."""
    return Path(BentoMLContainer.model_store.get()._path)


def read_description(folder: Path) -> Description | None:
    """BentoML's description of the version in `folder`; None where it is incomplete, not ours, or not there."""
    try:
        model = Model.from_path(folder)
    except Exception:  # Whatever is wrong with it, it is not a version of ours.
        return None
    return Description(str(model.tag), model.info.creation_time) if model.info.module == MODULE else None


@contextmanager
def new_version(scratch: Path, tag: str, labels: Mapping[str, str], metadata: Mapping[str, Any]) -> Iterator[Path]:
    """A folder to fill with a version's files; afterwards it is a version as BentoML lays it out, in `scratch`/name/version."""
    with bentoml.models.create(
        tag, module=MODULE, labels=dict(labels), metadata=dict(metadata), _model_store=ModelStore(scratch)
    ) as model:
        yield Path(model.path)


def write_archive(tag: str, path: Path) -> Path:
    """Writes a version of the store as one file, and returns the file.

    Raises:
        StoreError: It cannot be written.
        StorageError: The disk is full, read-only, or not open to this user; no file is left.
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
    """Unpacks a file of `write_archive` into the folder `scratch`; returns the name, the version and the folder.

    Raises:
        StoreError: The file is no such archive, or exceeds the limits of `hubserve.store.archive`.
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
