"""Folders at other places (hf://, s3://, file://, memory://), read and written through fsspec, with clear errors.

Environment variables:
    HUBSERVE_OFFLINE: Any value but "" and "0" forbids access to other machines.
    HF_ENDPOINT, HF_TOKEN: Address of the Hugging Face hub, and the token to log in with.
    AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the others of botocore: Address of S3, and the credentials.
"""

import os
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import fsspec  # type: ignore[import-untyped]

from hubserve.errors import MissingExtraError, RemoteError
from hubserve.remote_errors import is_missing_bucket, reporting
from hubserve.similar_names import suggest

SCHEMES = {"hf": "hf://OWNER/NAME", "s3": "s3://BUCKET/FOLDER", "file": "file:///FOLDER", "memory": "memory://FOLDER"}
"""How an address of each scheme is written; `memory` is the memory of this process, for tests."""

CONNECT_SECONDS = 5.0
"""Timeout of a connection to another machine, in seconds."""

READ_SECONDS = 60.0
"""Time without any answer after which a request to S3 fails, in seconds."""

_HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def offline() -> bool:
    """Returns True if the environment variable HUBSERVE_OFFLINE forbids downloads: if it is set, and not to "" or "0"."""
    return os.environ.get("HUBSERVE_OFFLINE", "") not in ("", "0")


def hub_endpoint() -> str:
    """Returns the address of the Hugging Face hub: HF_ENDPOINT, or that of the library huggingface_hub."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or str(constants.ENDPOINT)).rstrip("/")


@dataclass(frozen=True)
class RemoteFolder:
    """A folder at another place. Its methods raise RemoteError, RemoteMissingError or StorageError.

    Attributes:
        url: Address as the user wrote it, for messages.
        scheme: One of `SCHEMES`.
        path: Path of the folder in `files`.
        files: The file system of fsspec; None for a repository of Hugging Face that does not exist yet.
        revision: Branch, tag or commit of a repository of Hugging Face; None means its main branch. Not used by other schemes.
    """

    url: str
    scheme: str
    path: str
    files: Any = None
    revision: str | None = None

    def names(self) -> list[str]:
        """Returns the names of the files that lie directly in the folder, sorted; none if there is no such folder."""
        with reporting(self.url, reading=True):
            try:
                entries = self.files.ls(self.path, detail=True)
            except FileNotFoundError as error:
                if is_missing_bucket(error):
                    raise
                return []
        names = {entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] != "directory"}
        return sorted(name for name in names if name)

    def size(self, name: str) -> int | None:
        """Returns the size of a file in bytes; None if there is no such file.

        Raises:
            RemoteError: It is a folder, a symbolic link, a device or a pipe.
        """
        with reporting(self.url, reading=True):
            try:
                found = self.files.info(self._path(name))
            except FileNotFoundError as error:
                if is_missing_bucket(error):
                    raise
                return None
        if found["type"] != "file" or found.get("islink"):
            raise RemoteError(f"{self.url}: {name!r} is a link, a folder or a device; a package has plain files only")
        return int(found["size"])

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """Yields a file that is opened for reading from its begin to its end. Errors of the block are reported, too."""
        # A repository's file is read by a single request; otherwise huggingface_hub asks for one block after the other.
        options = {"block_size": 0} if self.scheme == "hf" else {}
        with reporting(self.url, reading=True), self.files.open(self._path(name), "rb", **options) as file:
            yield file

    def read(self, name: str, most: int) -> bytes:
        """Returns the content of a file. Raises RemoteError if it has more than `most` bytes."""
        with self.opened(name) as file:
            content = b"".join(pieces(file, most + 1))
        if len(content) > most:
            raise RemoteError(f"{self.url}: {name} is longer than the {most / 1e6:.3g} MB that are read")
        return content

    def upload(self, name: str, source: Path) -> None:
        """Writes a copy of the file `source` into the folder; its size there is compared."""
        self._check_no_link(name)
        with reporting(self.url):
            self.files.put_file(str(source), self._path(name))
        self.check_size(name, source.stat().st_size)

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file into the folder."""
        self._check_no_link(name)
        with reporting(self.url):
            self.files.pipe_file(self._path(name), content)
        self.check_size(name, len(content))

    def check_size(self, name: str, expected: int) -> None:
        """Raises RemoteError if a file that was written does not have the expected size."""
        self.files.invalidate_cache()
        found = self.size(name)
        if found != expected:
            raise RemoteError(f"{self.url}: {name} was written with {expected} bytes, and {found} are there; push it again")

    def remove(self, names: Iterable[str]) -> None:
        """Removes the files with these names from the folder, one after the other; an error leaves the rest where they are.

        Raises:
            RemoteMissingError: There is no such file. S3 does not report that, so the file is passed over there.
            RemoteError: The place cannot be reached, or refuses access.
            StorageError: A disk of this machine is read-only, or this user has no permission.
        """
        with reporting(self.url):
            for name in names:
                self.files.rm_file(self._path(name))

    def _check_no_link(self, name: str) -> None:
        """Raises RemoteError if a file of this machine that is to be written is a link, which leads out of the folder."""
        if self.scheme == "file" and os.path.islink(self._path(name)):
            raise RemoteError(f"{self.url}: {name!r} is a link, and nothing is written through links; remove it")

    def _path(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"


def parse_address(url: str, revision: str | None = None) -> RemoteFolder:
    """Returns the folder that an address means, without access to it.

    Args:
        url: Address in one of the ways of `SCHEMES`; one of hf:// may end in @REVISION.
        revision: Branch, tag or commit of a repository of Hugging Face; None takes the one in `url`, or else the main branch.

    Raises:
        RemoteError: The scheme is not known, the address is not complete, or a revision is given for another scheme.
    """
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in SCHEMES:
        ways = ", ".join(way for name, way in SCHEMES.items() if name != "memory")
        near = f" {suggest(scheme, SCHEMES)}" if colon else ""
        raise RemoteError(f"{url!r} is no address that models are pushed to or pulled from: {ways}.{near}")
    place = rest.strip("/")
    if scheme == "hf":
        place, _, in_url = place.removeprefix("models/").partition("@")
        if not _HUB_NAME.fullmatch(place) or ".." in place:
            raise RemoteError(
                f"{url!r} is no repository of models at Hugging Face: write hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
            )
        return RemoteFolder(url, scheme, place, revision=revision or in_url or None)
    if revision is not None:
        raise RemoteError(f"{url}: only a repository of Hugging Face (hf://) has revisions; leave out --revision {revision}")
    if not place or ".." in place.split("/"):
        raise RemoteError(f"{url!r} is no folder: write {SCHEMES[scheme]}")
    if scheme == "s3":
        return RemoteFolder(url, scheme, place)
    if scheme == "memory":
        return RemoteFolder(url, scheme, f"/{place}")
    if not rest.startswith(("/", "localhost/")):
        raise RemoteError(f"{url!r} is no absolute path: a folder of this machine is written {SCHEMES[scheme]}")
    path = urllib.request.url2pathname(rest.removeprefix("localhost"))
    return RemoteFolder(url, scheme, path.rstrip("/"))


def open_folder(url: str, revision: str | None = None) -> RemoteFolder:
    """Returns the folder at an address, ready to be read; see `parse_address` for the arguments.

    The revision of a repository of Hugging Face is resolved to a commit, so that all files come from the same one. Folders of
    the other schemes are not accessed here: one that does not exist is noticed by the methods that read it.

    Raises:
        RemoteError: The address is wrong, the place cannot be reached or refuses access, or HUBSERVE_OFFLINE forbids it.
        RemoteMissingError: There is no such repository, or no such revision.
        MissingExtraError: The library for the scheme is not installed.
    """
    folder = parse_address(url, revision)
    if folder.scheme in ("hf", "s3") and offline():
        raise RemoteError(f"{url} is on another machine, and HUBSERVE_OFFLINE is set")
    with reporting(url):
        return _opened_hub(folder) if folder.scheme == "hf" else replace(folder, files=_file_system(folder.scheme))


def _file_system(scheme: str) -> Any:
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise MissingExtraError(f"{scheme}:// needs s3fs: pip install 'hubserve[s3]'") from error
    if scheme == "file":
        return kind(auto_mkdir=True)
    if scheme != "s3":
        return kind()
    config = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": {"max_attempts": 1}}
    # A new instance reads the credentials again; a cached listing would be older than what another machine has written.
    files = kind(config_kwargs=config, skip_instance_cache=True, use_listings_cache=False)
    files.retries = 2  # How often s3fs itself repeats a request.
    return files


def _opened_hub(folder: RemoteFolder) -> RemoteFolder:
    from huggingface_hub import HfApi, HfFileSystem

    endpoint = hub_endpoint()
    check_connection(endpoint)
    found = HfApi(endpoint=endpoint).repo_info(folder.path, revision=folder.revision)
    files = HfFileSystem(endpoint=endpoint)
    files.invalidate_cache()
    return replace(folder, path=f"{folder.path}@{found.sha}", files=files, revision=found.sha)


def check_connection(endpoint: str) -> None:
    """Raises RemoteError if no connection to `endpoint` is accepted within `CONNECT_SECONDS`.

    The check avoids the half minute for which huggingface_hub retries. With a proxy nothing is checked, because libraries
    connect to the proxy, so that a direct connection proves nothing.

    Args:
        endpoint: URL of the Hugging Face hub.
    """
    if urllib.request.getproxies():
        return
    parts = urllib.parse.urlsplit(endpoint)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise RemoteError(f"{endpoint} cannot be reached: {error}") from error


def pieces(file: IO[bytes], most: int) -> Iterator[bytes]:
    """Yields the content of a file in pieces of at most 1 MiB, and at most its first `most` bytes."""
    while most > 0 and (piece := file.read(min(most, 2**20))):
        yield piece
        most -= len(piece)
