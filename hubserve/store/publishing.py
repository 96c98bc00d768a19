"""Publishes packages as versions of the model store, and deletes versions.

A version appears in the store by one rename, so readers never see an incomplete one, even if publishing is killed.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hubserve.atomic import apply_umask, move_folder, renamed, staged_folder
from hubserve.errors import AlreadyPublishedError, ModelNotFoundError, StoreError
from hubserve.package.manifest import Manifest
from hubserve.package.package import MANIFEST, Package, read_package
from hubserve.sequence_number import NUMBER_FILE, number_lock, write_next_number
from hubserve.store.bentoml_store import MODEL_YAML, models_folder, new_version, staging_folder
from hubserve.store.stored_models import NAME, StoredModel, point_latest, read_version, resolve, update_latest, version_folders


def publish(path: Path, *, name: str | None = None, version: str | None = None) -> StoredModel:
    """Copies a package into the store as the newest version of a model, and returns the version.

    Before, `Package.verify` checks the hash of every file and that every format has passed the comparison with eager PyTorch.
    If the store already has the version with the same content, nothing is copied, and its place in the order of versions stays.

    Args:
        path: Folder of the package.
        name: Name of the model; None takes the name in the package's manifest, in lower case.
        version: Version of the model; None takes the first 12 digits of the hash of the manifest, which is the same whenever
            the same package is published.

    Raises:
        PackageError: The folder is not a package, a file was changed since it was written, or a format has not passed the
            comparison.
        ExportError: An ONNX file of the package is not in that format.
        StoreError: The store does not allow the name or the version, or the store is not a folder or cannot be made.
        AlreadyPublishedError: The store has that version with other content.
        OSError: A file cannot be copied (StorageError for a full, read-only or forbidden disk).
    """
    package = read_package(path)
    # Hashed here although writing it hashed the same files: a package may come from another machine.
    package.verify()
    name = _checked("name", name or package.manifest.name.lower())
    version = _checked("version", version or _content_version(path))
    tag, target = f"{name}:{version}", models_folder() / name / version
    if target.exists():
        return _already_published(target, package, tag)
    with _staged(tag, package) as stage:
        try:
            put_version(stage, target)
        except OSError:
            if not target.exists():
                raise
            # Another process published it just now.
            return _already_published(target, package, tag)
    point_latest(target)
    return resolve(tag)


def put_version(stage: Path, target: Path, *, newest: bool = True) -> None:
    """Moves the folder of a version to its place in the store, in one step.

    Args:
        stage: Folder of the version.
        target: Folder in the store to which it is moved; must not exist.
        newest: Whether the version counts as newer than all others. If False, it counts as older than all versions that were
            published in this store.

    Raises:
        OSError: The target exists, or cannot be written; the store is unchanged then.
    """
    (stage / NUMBER_FILE).unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with number_lock(models_folder().parent):
            if newest:
                write_next_number(stage, version_folders(models_folder()))
            move_folder(stage, target)
    except BaseException:
        with suppress(OSError):
            target.parent.rmdir()  # Only where it is empty: it was made for this version.
        raise


def delete(tag: str) -> None:
    """Removes one version from the store; readers see the whole version or none.

    Args:
        tag: Tag of the version, "name:version". "name" or "name:latest" removes only the newest version of that model.

    Raises:
        ModelNotFoundError: There is no such version.
        StoreError: This user may not read the version, or the store is not a folder.
        OSError: The version cannot be removed (StorageError for a full, read-only or forbidden disk).
    """
    stored = resolve(tag)
    if stored.problem:
        raise StoreError(f"{stored.tag} is not deleted, since it cannot be read: {stored.problem}")
    with staged_folder(staging_folder(), "delete") as scratch:
        try:
            _take_out(stored.path, scratch / stored.path.name)
        except FileNotFoundError as error:
            raise ModelNotFoundError(f"{stored.tag} was deleted by another process just now") from error
    update_latest(stored.path.parent)


def _take_out(version: Path, scratch: Path) -> None:
    if not renamed(version, scratch):
        # The store is on another file system, or a layer of a container's: without its description there is no such version.
        (version / MODEL_YAML).unlink()
        shutil.rmtree(version)


@contextmanager
def _staged(tag: str, package: Package) -> Iterator[Path]:
    """Context manager that copies a package into a new version in a temporary store, and yields the folder of the version.

    At the end of the block the temporary store is removed.
    """
    manifest = package.manifest
    with staged_folder(staging_folder(), "publish") as scratch:
        with new_version(scratch, tag, _labels(manifest), _metadata(manifest)) as folder:
            for file in (MANIFEST, *manifest.files):
                shutil.copy2(package.path / file, folder / file)
        name, _, version = tag.partition(":")
        apply_umask(scratch / name / version)
        yield scratch / name / version


def _labels(manifest: Manifest) -> dict[str, str]:
    return {"space": manifest.space, "origin": manifest.provenance.origin, "weights": manifest.provenance.weights}


def _metadata(manifest: Manifest) -> dict[str, Any]:
    metric = manifest.provenance.metric
    return {
        # BentoML allows no null here.
        **({} if manifest.preprocess is None else {"input_size": manifest.preprocess.input_size}),
        "classes": manifest.classes,
        "formats": list(manifest.exports),
        "metric": metric.model_dump(exclude_none=True) if metric else {},
        "search": manifest.provenance.search,
    }


def _already_published(target: Path, package: Package, tag: str) -> StoredModel:
    stored = read_version(target)
    if stored is None or _content_version(target) != _content_version(package.path):
        raise AlreadyPublishedError(f"{tag} exists and is another package; give another --version, or delete it first")
    # The process that published it may have been killed before it recorded this version as the newest.
    update_latest(target.parent)
    return stored


def _content_version(path: Path) -> str:
    """Returns the first 12 hexadecimal digits of the SHA-256 of the manifest of the package in `path`."""
    return hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()[:12]


def _checked(what: str, text: str) -> str:
    if not NAME.fullmatch(text) or text == "latest":
        raise StoreError(
            f"{what} {text!r} is not allowed: lower-case letters and digits, with '-', '_' and '.' between them, "
            "at most 63 in all, and not 'latest'"
        )
    return text
