"""Copies versions between stores: exports a version as one file, imports such a file, and copies the models of a bento."""

import shutil
from pathlib import Path

from hubserve.atomic import staged_folder
from hubserve.errors import StoreError
from hubserve.store.bentoml_store import (
    bundled_models_folder,
    models_folder,
    read_archive,
    staging_folder,
    write_archive,
)
from hubserve.store.publishing import publish, put_version
from hubserve.store.stored_models import StoredModel, list_models, read_version, resolve, update_latest, version_folders


def export_model(tag: str, path: Path) -> Path:
    """Writes a version as one file, which `import_model` and BentoML can read, and returns the path of the file.

    Args:
        tag: Tag of the version, or the name of a model for its newest version. Aliases are not looked up.
        path: File to write, or an existing folder for a file of the usual name; see `write_archive` in
            `hubserve.store.bentoml_store`. No folder is created.

    Raises:
        ModelNotFoundError: There is no such version.
        StoreError: The version cannot be read, the folder of `path` does not exist, or the file cannot be written.
        StorageError: The disk is full or read-only, or this user has no permission; no file is left.
    """
    stored = resolve(tag)
    if stored.problem:
        raise StoreError(f"{stored.tag} is not exported, since it cannot be read: {stored.problem}")
    return write_archive(stored.tag, path)


def import_model(path: Path) -> StoredModel:
    """Reads a file that `export_model` wrote, publishes the version in it into this store, and returns it.

    Raises:
        StoreError: The file is not an exported model, cannot be read, or exceeds a limit of `hubserve.store.archive`; the store
            does not allow the name or version in it, or cannot be used.
        AlreadyPublishedError: The store has that version with other content.
        PackageError: The package in the file is incomplete or was changed, or a format has not passed the comparison with eager
            PyTorch.
        ExportError: An ONNX file of the package is not in that format.
        OSError: A file cannot be written (StorageError for a full, read-only or forbidden disk).
    """
    with staged_folder(staging_folder(), "import") as scratch:
        name, version, folder = read_archive(path, scratch)
        return publish(folder, name=name, version=version)


def unpack_bento() -> list[str]:
    """Copies the models of the bento that is served into the store, unless it has them, and returns the tags of the copies.

    In a container BentoML serves a bento from a folder that also has the models of the bento. The service uses the store in
    BENTOML_HOME instead: models can be published to it, and it stays when the container is replaced. A copy keeps the time when
    the model was published, so it does not count as newer than versions in the store that were published later.

    Raises:
        StoreError: A version cannot be copied into the store.
        OSError: The newest version of a model cannot be recorded.
        StorageError: This user may not list the store.
    """
    bundled = bundled_models_folder()
    if bundled.resolve() == models_folder().resolve():
        return []
    found = [model for path in version_folders(bundled) if (model := read_version(path)) is not None]
    return [model.tag for model in sorted(found, key=lambda model: (model.number, model.created)) if _copied(model)]


def _copied(model: StoredModel) -> bool:
    """Copies a version of another store into the store and returns True; returns False if the store has one of that tag.

    The copy counts as newer than all versions in the store only if it was created after the newest of them.

    Raises:
        StoreError: The version cannot be copied.
        OSError: It was copied, but the store cannot be listed, or the newest version of its model cannot be recorded.
    """
    target = models_folder() / model.name / model.path.name
    if target.exists():
        return False
    try:
        with staged_folder(staging_folder(), "unpack") as scratch:
            shutil.copytree(model.path, scratch / target.name)
            newest = next(iter(list_models()), None)
            put_version(scratch / target.name, target, newest=newest is None or newest.created < model.created)
    except (OSError, StoreError) as error:
        if target.exists():  # Another worker was faster.
            return False
        raise StoreError(
            f"{model.tag} of the bento cannot be copied to {models_folder()}: {error}; BENTOML_HOME must be a folder that can "
            "be written, on one disk"
        ) from error
    update_latest(target.parent)
    return True
