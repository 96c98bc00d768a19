"""Publishing a package as a version of the model store, and deleting one.

A version appears in the store by one rename, so a reader, or a `kill -9` in the middle of publishing, never sees half of one.
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
    """Puts a package into the store, after checking the hash of every file and that the parity of every format was proven.

    Args:
        path: Folder of the package.
        name: Name of the model; None takes the package's own, in lower case.
        version: Version of the model; None takes digits of the package's hash, so that publishing it again changes nothing.

    Raises:
        PackageError: Not a package, changed since it was written, or a format without passed parity.
        StoreError: A name or version that the store does not allow.
        AlreadyPublishedError: That version exists and is another package.
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
    """Moves a version into its place in the store, in one step.

    Args:
        stage: Folder of the version.
        target: Its folder in the store, which must not exist.
        newest: Whether it is newer than all others; otherwise it is older than those that were published in this store.

    Raises:
        OSError: The target exists, or cannot be written; then nothing of it is there.
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
    """Removes one version from the store, by one rename.

    Args:
        tag: "name:version"; "name" alone means its newest version, and the others stay.

    Raises:
        ModelNotFoundError: There is no such version.
        StoreError: This user may not read it.
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
    """The version as BentoML lays it out, in a store of its own that is removed afterwards."""
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
        "input_size": manifest.preprocess.input_size,
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
