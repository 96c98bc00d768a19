"""`make_streams_printable`: lets stdout and stderr print every text, whatever the locale and the names of files."""

import io
import sys


def make_streams_printable() -> None:
    r"""Makes stdout and stderr print characters that their encoding does not have as escapes, such as `\xe9`.

    Without it, printing them raises UnicodeEncodeError: an accent under the locale C, or the name of a file that is not UTF-8
    under any locale.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_printable(text: str) -> bool:
    """Returns whether stdout can print a text without escapes."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
