"""Says which weights are on this machine, and asks the sources of cards what they would answer, without a download."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import httpx2
import huggingface_hub

from hubserve.cards.card import WeightSource
from hubserve.errors import ChecksumError, WeightsError
from hubserve.hub.google_drive import confirmed_address
from hubserve.hub.local_weights import how_by_hand, place_by_hand
from hubserve.hub.web_page import WebPage, is_web_page, receive_page
from hubserve.hub.weight_sources import address, fetch
from hubserve.remote_files import offline

ASK_SECONDS = 10.0
"""Timeout in seconds of a request to a source."""

Here = Literal["yes", "no", "corrupt"]
"""Whether the file of a source is on this machine; "corrupt" is one that is there and does not match its hash or size."""


@dataclass(frozen=True)
class SourceAnswer:
    """What a source answers when it is asked for its file.

    Attributes:
        usable: Whether the source has a file, of the size and hash that the card gives as far as the answer says them.
        text: The answer in a few words.
    """

    usable: bool
    text: str


def on_this_machine(sources: Sequence[WeightSource]) -> bool:
    """Returns True if a file of one of the sources is on this machine and matches its hash and size; nothing is downloaded."""
    return any(here(source) == "yes" for source in sources)


def here(source: WeightSource) -> Here:
    """Returns whether the file of a source is on this machine; nothing is downloaded."""
    try:
        fetch(source, download=False)
    except ChecksumError:
        return "corrupt"
    except WeightsError:
        return "no"
    return "yes"


def ask(source: WeightSource) -> SourceAnswer:
    """Asks a source for its file, without downloading it, and returns the answer.

    A source on this machine is looked at; any other one is requested once over HTTP, and a file on Google Drive once more if a
    confirmation page is sent first. The environment variable HUBSERVE_OFFLINE forbids requests.
    """
    if source.package is not None or source.path is not None:
        try:
            return SourceAnswer(True, f"a file of {fetch(source, download=False).stat().st_size} bytes on this machine")
        except WeightsError as error:
            return SourceAnswer(False, str(error))
    answer = _request_or_error(source)
    if source.page is None:
        return answer
    if here(source) == "yes":
        return SourceAnswer(True, f"saved by hand as {place_by_hand(source)}")
    return SourceAnswer(False, f"{answer.text.partition(', a web page in place')[0]}; {how_by_hand(source)}")


def _request_or_error(source: WeightSource) -> SourceAnswer:
    """Requests the file of a source over HTTP and returns the answer, or the error as an answer."""
    if offline():
        return SourceAnswer(False, "not asked: HUBSERVE_OFFLINE is set")
    try:
        return _request(source)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return SourceAnswer(False, f"{type(error).__name__}: {error}")
    except WeightsError as error:
        return SourceAnswer(False, str(error))


def _request(source: WeightSource) -> SourceAnswer:
    """Requests the file of a source over HTTP and returns the answer.

    Raises:
        httpx2.HTTPError: The server cannot be reached.
        httpx2.InvalidURL: The URL is not valid.
        WeightsError: Google Drive sends a page in place of the file.
    """
    if source.hub_id is not None:
        url = huggingface_hub.hf_hub_url(source.hub_id, source.filename or "")
    else:
        url = source.page or address(source)
    found, page = _get(url, source)
    if source.drive is None or page is None:
        return found
    confirmed, _ = _get(confirmed_address(page), source)
    return SourceAnswer(confirmed.usable, f"{confirmed.text}, after the confirmation page")


def _get(url: str, source: WeightSource) -> tuple[SourceAnswer, WebPage | None]:
    """Requests `url` and returns the answer, and the page if the server answers with one.

    Raises:
        httpx2.HTTPError: The server cannot be reached.
        httpx2.InvalidURL: The URL is not valid.
    """
    with httpx2.stream(
        "GET", url, headers={"Accept-Encoding": "identity"}, timeout=ASK_SECONDS, follow_redirects=True
    ) as answer:
        status = f"HTTP {answer.status_code} {answer.reason_phrase}"
        if is_web_page(answer):
            page = receive_page(answer)
            return SourceAnswer(False, f"{status}, a web page in place of a file: {page.summary}"), page
        if answer.status_code != 200:
            return SourceAnswer(False, status), None
        length = answer.headers.get("content-length")
        text = f"{status}, a file of {length or 'an unknown number of'} bytes"
        other = _other_file(answer, source)
        return SourceAnswer(other is None, text if other is None else f"{text}; {other}"), None


def _other_file(answer: httpx2.Response, source: WeightSource) -> str | None:
    """Returns what shows that the file is another one than that of the card; None if the headers do not show it.

    The size is that of the answer. Hugging Face sends the SHA-256 of a large file in the header X-Linked-ETag of its redirect.
    """
    length = answer.headers.get("content-length")
    if source.size is not None and length is not None and int(length) != source.size:
        return f"the card expects {source.size} bytes: another file"
    for response in (*answer.history, answer):
        tag = response.headers.get("x-linked-etag", "").strip('"')
        if len(tag) == 64 and source.sha256 is not None and not tag.startswith(source.sha256):
            return f"its sha256 is {tag[:8]}..., and the card expects {source.sha256[:8]}: another file"
    return None
