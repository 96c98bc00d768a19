"""`push` copies a package to a folder at another place (hf://, s3://, file://), from which `hubserve.store.pull` reads it.

The manifest is written last, and at Hugging Face all files are pushed in one commit, so that nobody pulls an incomplete
package.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hubserve.errors import RemoteError
from hubserve.package.package import MANIFEST, read_package
from hubserve.package.readme import README, readme
from hubserve.remote_files import RemoteFolder, open_folder, parse_address
from hubserve.store.archive import MOST_MANIFEST_BYTES
from hubserve.store.hub_repository import HubRepository, open_repository

INCOMPLETE = "hubserve-push.incomplete"
"""Name of a file that is in a folder while a push into it has begun and not ended. It lists the names of the pushed files."""


@dataclass(frozen=True)
class Pushed:
    """The result of `push`.

    Attributes:
        url: Address of the folder to which the package was pushed.
        revision: Id of the newest commit of the repository at Hugging Face; None for other places.
        sha256: SHA-256 of the package's manifest, in hexadecimal; `pull` can be given it to accept no other package.
        files: Names of all files of the push, sorted.
        bytes: Size of these files together, in bytes.
        changed: False if the folder had this package already, so that nothing was written.
    """

    url: str
    revision: str | None
    sha256: str
    files: tuple[str, ...]
    bytes: int
    changed: bool


def push(
    path: Path, url: str, *, force: bool = False, private: bool = False, beside: Mapping[str, Path] | None = None
) -> Pushed:
    """Verifies a package and copies it, with a model card README.md, to a folder at another place; returns what was pushed.

    The model card and the files of `beside` are not part of the package: the manifest does not list them, and `pull` leaves
    them out. If the package itself has a file README.md, no card is written. A push replaces a card that is there, unless the
    folder has the same package already. A push that was interrupted is completed by the same push again.

    Args:
        path: Folder of the package.
        url: Address of the folder: hf://OWNER/NAME, s3://BUCKET/FOLDER or file:///FOLDER. A repository at Hugging Face is
            created if there is none; a bucket must exist.
        force: Whether to replace another package, or write beside other files. Files of the package that is replaced are
            removed; other files stay. Not needed where a push was interrupted, nor in a repository at Hugging Face that has
            README.md and .gitattributes alone.
        private: Whether a repository that is created at Hugging Face is private; False takes the default of its owner.
        beside: Further files to copy, by the name that they get; those with the name of a file of the package are left out.

    Raises:
        PackageError: `path` is not a package, a file of it was changed since it was written, or a format has not passed the
            comparison with eager PyTorch.
        ExportError: An ONNX file of the package is not in that format.
        RemoteError: The address is wrong or that of the package itself, the folder has other contents and `force` is False, or
            it cannot be reached or written.
        RemoteMissingError: There is no such bucket, or no such branch.
        MissingExtraError: The library for the scheme is not installed.
        StorageError: A disk of this machine is full, read-only or forbidden.
    """
    package = read_package(path)
    package.verify()
    place = parse_address(url)
    if place.scheme == "file" and Path(place.path).resolve() == path.resolve():
        raise RemoteError(f"{url} is the folder of the package itself; choose another folder")
    content = (path / MANIFEST).read_bytes()
    with tempfile.TemporaryDirectory(prefix="hubserve.push.") as scratch:
        extra = {name: file for name, file in (beside or {}).items() if name not in package.manifest.files}
        card = Path(scratch) / README
        card.write_text(readme(package, url, timm="config.json" in extra), "utf-8")
        # Extra files first: the package is complete when its manifest is there.
        files = {README: card} | extra | {name: path / name for name in package.manifest.files}
        if README in package.manifest.files:
            files[README] = path / README
        size = sum(file.stat().st_size for file in files.values()) + len(content)
        if place.scheme == "hf":
            revision, changed = _commit(open_repository(url), files, path / MANIFEST, force, private)
        else:
            revision, changed = None, _upload(open_folder(url), files, content, force)
    return Pushed(url, revision, hashlib.sha256(content).hexdigest(), tuple(sorted({*files, MANIFEST})), size, changed)


def _upload(folder: RemoteFolder, files: Mapping[str, Path], content: bytes, force: bool) -> bool:
    """Writes the files, then the manifest, and returns True; returns False, and writes nothing, if the folder has all of them.

    Args:
        folder: Where to write.
        files: Name in the folder -> file, for all files but the manifest.
        content: The manifest.
        force: Whether to replace another package, or to write beside other files.

    Raises:
        RemoteError: The folder has other contents and `force` is False, or it cannot be reached or written.
    """
    present = set(folder.names())
    theirs = folder.read(MANIFEST, MOST_MANIFEST_BYTES) if MANIFEST in present else None
    if theirs == content and _has_all(folder, files, present):
        if INCOMPLETE in present:
            folder.remove([INCOMPLETE])
        return False
    if theirs is None and INCOMPLETE in present:
        before = set(folder.read(INCOMPLETE, MOST_MANIFEST_BYTES).decode(errors="replace").splitlines())
    else:
        before = _listed(theirs)
        _check_replaceable(folder.url, present, theirs, content, force)
    folder.write(INCOMPLETE, "".join(f"{name}\n" for name in sorted({*files, *before})).encode())
    if MANIFEST in present:
        folder.remove([MANIFEST])  # From here on the old package is incomplete, and nobody pulls a mixture of both.
    for name, file in files.items():
        folder.upload(name, file)
    folder.write(MANIFEST, content)
    folder.remove([*sorted((before & present) - {*files, MANIFEST}), INCOMPLETE])
    return True


def _commit(
    repository: HubRepository, files: Mapping[str, Path], manifest: Path, force: bool, private: bool
) -> tuple[str | None, bool]:
    """Pushes a package as one commit; returns the id of the newest commit, and whether this push made it.

    It makes none if the repository has the same manifest and all files with the same sizes, apart from that of the model card.
    A commit also removes files of the package that it replaces, unless the new package has files of these names.

    Args:
        repository: Where to push; it is created if it does not exist.
        files: Name in the repository -> file, for all files but the manifest.
        manifest: File of the package's manifest, which is pushed, too.
        force: Whether to replace another package, or to write beside other files.
        private: Whether a repository that is created is private.

    Raises:
        RemoteError: The repository has other contents and `force` is False, or it cannot be reached or written.
    """
    # A repository that was made at the web site has these two, and what was in them stays in the history.
    names = set(repository.names())
    present, content = names - {".gitattributes", README}, manifest.read_bytes()
    theirs = repository.read(MANIFEST, MOST_MANIFEST_BYTES) if MANIFEST in present else None
    if theirs == content and _has_all(repository.folder, files, names):
        return repository.commit, False
    _check_replaceable(repository.folder.url, present, theirs, content, force)
    stale = (_listed(theirs) & present) - {*files, MANIFEST}
    return repository.push({**files, MANIFEST: manifest}, sorted(stale), private=private), True


def _has_all(folder: RemoteFolder, files: Mapping[str, Path], present: set[str]) -> bool:
    """Returns whether the folder has files with these names and sizes; the size of the model card is not compared."""
    if not present.issuperset(files):
        return False
    return all(name == README or folder.size(name) == file.stat().st_size for name, file in files.items())


def _check_replaceable(url: str, present: set[str], theirs: bytes | None, content: bytes, force: bool) -> None:
    """Checks that a package may be written to the folder: it is empty or has the same package, or `force` is True.

    Raises:
        RemoteError: The folder has other files or another package, and `force` is False.
    """
    if force or not present or theirs == content:
        return
    if theirs is None:
        some = ", ".join(sorted(present)[:3])
        raise RemoteError(
            f"{url} has other files ({some}) and no package; choose another folder, or write into it with --force"
        )
    raise RemoteError(f"{url} has another package; choose another folder, or replace it with --force")


def _listed(manifest: bytes | None) -> set[str]:
    """Returns the names of the files that a manifest lists; none if it is not readable."""
    try:
        return {name for name in json.loads(manifest or b"{}")["files"] if isinstance(name, str) and "/" not in name}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()
