"""Copying versions between stores: as one file, and from a bento into the store."""

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
    """Writes a version as one file, which `import_model` and BentoML read; returns the file.

    Raises:
        ModelNotFoundError: There is no such version.
        StoreError: The version cannot be read, or the file cannot be written.
    """
    stored = resolve(tag)
    if stored.problem:
        raise StoreError(f"{stored.tag} is not exported, since it cannot be read: {stored.problem}")
    return write_archive(stored.tag, path)


def import_model(path: Path) -> StoredModel:
    """Puts an exported version into this store, checked as in `publish`.

    Raises:
        StoreError: Not an exported model, or the version exists.
        PackageError: The package was changed since it was exported.
    """
    with staged_folder(staging_folder(), "import") as scratch:
        name, version, folder = read_archive(path, scratch)
        return publish(folder, name=name, version=version)


def unpack_bento() -> list[str]:
    """Copies the models of the bento that this code is part of into the store; returns the tags that were missing there.

    BentoML serves a bento that has its models beside its code, as in a container, with a store in that folder, and leaves the
    one in BENTOML_HOME as it is. The service uses the latter: it can be published to, and stays when the container is replaced.
    A copy keeps the time when it was published, so what was published later stays the newest.

    Raises:
        StoreError: The store cannot be written.
    """
    bundled = bundled_models_folder()
    if bundled.resolve() == models_folder().resolve():
        return []
    found = [model for path in version_folders(bundled) if (model := read_version(path)) is not None]
    return [model.tag for model in sorted(found, key=lambda model: (model.number, model.created)) if _copied(model)]


def _copied(model: StoredModel) -> bool:
    """Copies a version of another store into ours. False where ours has it."""
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
