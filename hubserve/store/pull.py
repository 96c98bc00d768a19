"""`pull` and `pull_package` fetch a package that was pushed, check its hashes, and then put it into the store or a folder.

The writer of the package is not trusted. Only files that the manifest lists are fetched, their names must be plain, and no more
bytes are read than the manifest says. Formats that may run code stay untrusted; see `hubserve.package.trust`.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from pydantic import ValidationError

from hubserve.atomic import apply_umask, replace_folder, staged_folder
from hubserve.errors import PackageError, RemoteError, RemoteMissingError
from hubserve.package.add_files import check_target
from hubserve.package.file_names import check_file_names
from hubserve.package.manifest import FileEntry, Manifest
from hubserve.package.package import MANIFEST, Package, read_package
from hubserve.remote_files import RemoteFolder, open_folder, pieces
from hubserve.storage_faults import writing
from hubserve.store.archive import MOST_FILES, MOST_MANIFEST_BYTES
from hubserve.store.bentoml_store import staging_folder
from hubserve.store.publishing import publish
from hubserve.store.push import INCOMPLETE
from hubserve.store.stored_models import StoredModel
from hubserve.validation_sentence import first_mistake

MOST_BYTES = 16 * 10**9
"""Largest size of a package that is pulled, in bytes, if no other limit is given."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Called with a text and a number of bytes, shows a progress bar inside a block; what it yields advances the bar by bytes."""


def pull(
    url: str,
    *,
    name: str | None = None,
    version: str | None = None,
    revision: str | None = None,
    sha256: str = "",
    most_bytes: int = MOST_BYTES,
    progress: Progress | None = None,
) -> StoredModel:
    """Fetches a package from another place and publishes it in the store; returns the version.

    Until all files are there and have their hashes, they lie in a hidden folder that is not part of the store. If the process
    is killed, a later process removes that folder.

    Args:
        url: Address of a folder that `push` wrote: hf://OWNER/NAME, s3://BUCKET/FOLDER or file:///FOLDER.
        name: Name in the store; None takes the package's own, in lower case.
        version: Version in the store; None takes the first 12 digits of the hash of the manifest, so that pulling the same
            package again changes nothing.
        revision: Branch, tag or commit of a repository of Hugging Face; None takes the main branch.
        sha256: SHA-256 that the manifest must have, in hexadecimal, or the first digits of it; "" accepts any.
        most_bytes: Largest size of the package, in bytes.
        progress: Shows how many bytes were received; None shows nothing.

    Raises:
        RemoteError: The address is wrong, the place cannot be reached or read, refuses access, or the push into it has not
            ended.
        RemoteMissingError: There is no such repository, bucket or folder, or no package in it.
        PackageError: The package is larger than `most_bytes` or has more than 100 files, its manifest is not valid, is not the
            one of `sha256` or lists a name with a folder, a file is missing or differs from its hash, or the package does not
            pass `Package.verify`.
        ExportError: An ONNX file of the package is not in that format.
        AlreadyPublishedError: The store has that version, and it is another package.
        StoreError: The store does not allow the name or version, or cannot be used.
        StorageError: The disk is full, read-only or forbidden.
        MissingExtraError: The library for the scheme is not installed.
    """
    with staged_folder(staging_folder(), "pull") as stage:
        _fetch(open_folder(url, revision), stage, sha256=sha256, most_bytes=most_bytes, progress=progress)
        return publish(stage, name=name, version=version)


def pull_package(
    url: str,
    folder: Path,
    *,
    overwrite: bool = False,
    revision: str | None = None,
    sha256: str = "",
    most_bytes: int = MOST_BYTES,
    progress: Progress | None = None,
) -> Package:
    """Fetches a package from another place into a folder, which appears in one step; returns the package.

    Args:
        url: Address of a folder that `push` wrote; see `pull`.
        folder: Folder to write; it must not exist, or with `overwrite` be a package.
        overwrite: Whether to replace a package at `folder`.
        revision: Branch, tag or commit of a repository of Hugging Face; None takes the main branch.
        sha256: SHA-256 that the manifest must have, in hexadecimal, or the first digits of it; "" accepts any.
        most_bytes: Largest size of the package, in bytes.
        progress: Shows how many bytes were received; None shows nothing.

    Raises:
        RemoteError: The address is wrong, the place cannot be reached or read, refuses access, or the push into it has not
            ended.
        RemoteMissingError: There is no such repository, bucket or folder, or no package in it.
        PackageError: The package is refused, see `pull`; or `folder` exists and may not be replaced.
        ExportError: An ONNX file of the package is not in that format.
        StorageError: The disk is full, read-only or forbidden.
        MissingExtraError: The library for the scheme is not installed.
    """
    folder = folder.absolute()
    check_target(folder, overwrite)
    with staged_folder(folder.parent, folder.name) as stage:
        _fetch(open_folder(url, revision), stage, sha256=sha256, most_bytes=most_bytes, progress=progress)
        read_package(stage).verify()
        apply_umask(stage)
        check_target(folder, overwrite)  # Fetching takes a while, in which others may write.
        replace_folder(stage, folder)
    return read_package(folder)


def _fetch(remote: RemoteFolder, stage: Path, *, sha256: str, most_bytes: int, progress: Progress | None) -> None:
    """Writes the files of a remote package into the folder `stage`, and compares each one with its hash.

    Raises:
        RemoteError: The place cannot be reached or read, or there is no package.
        PackageError: The package is larger than allowed, its manifest is refused, or a file differs from its hash.
        StorageError: The disk is full, read-only or forbidden.
    """
    content = _manifest_content(remote)
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(sha256.lower()):
        raise PackageError(f"{remote.url}: the SHA-256 of its {MANIFEST} is {found}, expected {sha256}: another package")
    manifest = _checked_manifest(remote.url, content)
    files = manifest.files
    total = sum(entry.bytes for entry in files.values())
    if total > most_bytes:
        raise PackageError(
            f"{remote.url}: its files have {total / 1e9:.3g} GB, and {most_bytes / 1e9:.3g} GB are allowed (--most-gb)"
        )
    if total > shutil.disk_usage(stage).free:
        with writing(stage):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(stage.parent))
    for name, entry in files.items():
        _check_announced(remote, name, entry)
    (stage / MANIFEST).write_bytes(content)
    with _shown(progress, remote.url, total) as advance:
        for name, entry in files.items():
            _fetch_file(remote, name, entry, stage / name, advance)


def _manifest_content(remote: RemoteFolder) -> bytes:
    if remote.size(MANIFEST) is not None:
        return remote.read(MANIFEST, MOST_MANIFEST_BYTES)
    if INCOMPLETE in (names := remote.names()):
        raise RemoteError(f"{remote.url} is incomplete: a push into it has begun and not ended; push the model again")
    if names:
        raise RemoteMissingError(f"{remote.url} is no package, or an incomplete one: it has files, but no {MANIFEST}")
    raise RemoteMissingError(f"{remote.url} is empty, or there is no such folder")


def _checked_manifest(url: str, content: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise PackageError(f"{url}: its {MANIFEST} is not one that this version reads: {first_mistake(error)}") from error
    check_file_names(manifest, f"{url}/{MANIFEST}", reserved=MANIFEST)
    if len(manifest.files) > MOST_FILES:
        raise PackageError(f"{url}: its {MANIFEST} lists {len(manifest.files)} files, and {MOST_FILES} are allowed")
    for name, entry in manifest.files.items():
        if entry.bytes < 0:
            raise PackageError(f"{url}: its {MANIFEST} lists {name} with {entry.bytes} bytes")
    return manifest


def _check_announced(remote: RemoteFolder, name: str, entry: FileEntry) -> None:
    """Checks that a file exists and has the size that the manifest says, without fetching it.

    Raises:
        PackageError: The file is missing or has another size.
    """
    size = remote.size(name)
    if size is None:
        raise PackageError(f"{remote.url} is incomplete: {name} is missing; push the model again")
    if size != entry.bytes:
        raise PackageError(f"{remote.url}: {name} has {size} bytes, and its {MANIFEST} says {entry.bytes}: it was changed")


def _fetch_file(remote: RemoteFolder, name: str, entry: FileEntry, target: Path, advance: Callable[[int], None]) -> None:
    digest, size = hashlib.sha256(), 0
    with remote.opened(name) as source, writing(target), target.open("xb") as file:
        for piece in pieces(source, entry.bytes + 1):
            size += len(piece)
            digest.update(piece)
            file.write(piece)
            advance(len(piece))
    if size != entry.bytes or digest.hexdigest() != entry.sha256:
        raise PackageError(
            f"{remote.url}: {name} is not the file that its {MANIFEST} lists (its SHA-256 differs), so nothing was pulled; "
            "push the model again"
        )


@contextmanager
def _shown(progress: Progress | None, url: str, total: int) -> Iterator[Callable[[int], None]]:
    with nullcontext(lambda count: None) if progress is None else progress(f"pull {url}", total) as advance:
        yield advance
