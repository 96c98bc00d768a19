"""Says which weights are on this machine, and asks the sources of a card what they would answer, without a download."""

from collections.abc import Sequence

import httpx2
import huggingface_hub

from hubserve.cards.card import WeightSource
from hubserve.errors import WeightsError
from hubserve.hub.weight_sources import address, fetch
from hubserve.remote_files import offline

ASK_SECONDS = 10.0
"""Timeout in seconds of a request to a source."""


def on_this_machine(sources: Sequence[WeightSource]) -> bool:
    """Returns True if a file of one of the sources is on this machine and matches its hash; nothing is downloaded."""
    for source in sources:
        try:
            fetch(source, download=False)
        except WeightsError:
            continue
        return True
    return False


def ask(source: WeightSource) -> str:
    """Returns what the source answers, in a few words: the HTTP status and size, the error, or whether the package is there."""
    if source.package is not None:
        return "installed" if on_this_machine([source]) else "not installed"
    if offline():
        return "not asked: HUBSERVE_OFFLINE is set"
    url = address(source) if source.hub_id is None else huggingface_hub.hf_hub_url(source.hub_id, source.filename or "")
    try:
        with httpx2.stream("GET", url, timeout=ASK_SECONDS, follow_redirects=True) as answer:
            kind = "a web page" if "html" in answer.headers.get("content-type", "") else "a file"
            length = answer.headers.get("content-length", "an unknown number of")
            return f"HTTP {answer.status_code} {answer.reason_phrase}, {kind} of {length} bytes"
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return f"{type(error).__name__}: {error}"
