"""Makes text safe to send: no line breaks and escape codes in the log, no paths of this machine's folders in answers."""

import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

import hubserve
from hubserve import home
from hubserve.errors import OutputError
from hubserve.store.bentoml_store import models_folder

LONGEST_LINE = 500
"""Largest number of characters of a client's text in one line of the log."""

_ROUTES = frozenset(
    {"/classify", "/embed", "/models", "/aliases", "/exports", "/jobs", "/search_jobs", "/v2", "/page", "/metrics"}
)
"""Paths of the service's routes. A folder with such a path, at the root of a container, is not replaced in answers."""

LONGEST_MESSAGE = 4_000
"""Largest number of characters of an error message in an answer; a message may quote the request, which may have 20 MB."""


def printable(text: str) -> str:
    """Returns a client's text for a line of the log: cut to `LONGEST_LINE` characters, then all but printable ASCII escaped."""
    shown = text[:LONGEST_LINE]
    return shown if shown.isascii() and shown.isprintable() else shown.encode("unicode_escape").decode("ascii")


def shortened(message: str) -> str:
    """Returns an error message; one of more than `LONGEST_MESSAGE` characters is cut there, and " ..." follows."""
    return message if len(message) <= LONGEST_MESSAGE else message[:LONGEST_MESSAGE] + " ..."


def without_folders(text: str) -> str:
    """Returns the text with the paths of known folders replaced by names, as in "STORE/efficientnet-lite0".

    These folders are the store, BENTOML_HOME, HUBSERVE_HOME, hubserve, Python, TMPDIR, HOME and the working folder. Other paths
    are left as they are.

    Raises:
        StoreError: The text has a "/", and this user has no folder that can serve as BENTOML_HOME.
    """
    # Most texts have no path, and under overload a refusal must cost next to nothing.
    if "/" not in text:
        return text
    names, pattern = _folders(os.environ.get("HUBSERVE_HOME"), str(models_folder()))
    return pattern.sub(lambda match: names[match[0]], text)


class ClientJSONResponse(JSONResponse):
    """A JSON response in which the paths of known folders are replaced by names; see `without_folders`."""

    def render(self, content: Any) -> bytes:
        return without_folders(super().render(content).decode()).encode()


@cache
def _folders(_home: str | None, _store: str) -> tuple[dict[str, str], re.Pattern[str]]:
    """Returns the name of each known folder by its path, and a pattern that matches these paths.

    Args:
        _home: Value of HUBSERVE_HOME, which with `_store` is only the key of the cache: both may change while the process runs.
        _store: Folder of the store.
    """
    names: dict[str, str] = {}
    for name, folder in _named_folders():
        for path in (os.path.abspath(folder), os.path.realpath(folder)):
            if len(path) > 1 and path not in _ROUTES:
                names.setdefault(path, name)
    alternatives = "|".join(re.escape(folder) for folder in sorted(names, key=len, reverse=True))
    return names, re.compile(rf"(?<![\w.])(?:{alternatives})(?![\w.-])")


def _named_folders() -> Iterator[tuple[str, str | Path]]:
    """Yields (name, path) of each known folder; several paths may have the same name."""
    yield "STORE", models_folder()
    yield "BENTOML_HOME", models_folder().parent
    with suppress(OutputError):
        yield "HUBSERVE_HOME", home.home()
    yield "hubserve", Path(hubserve.__file__).parent
    for kind in ("purelib", "platlib", "stdlib", "platstdlib"):
        yield "python", sysconfig.get_path(kind)
    yield "python", sys.prefix
    yield "python", sys.base_prefix
    yield "TMPDIR", tempfile.gettempdir()
    with suppress(RuntimeError):
        yield "HOME", Path.home()
    with suppress(FileNotFoundError):
        yield "CWD", Path.cwd()
