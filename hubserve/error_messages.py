"""Functions for the messages and the tracebacks of errors."""

import difflib
import traceback
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns a sentence for an error message: up to three names in `known` that are similar to `name`, or else all of them.

    Upper and lower case count as the same. The sentence is like "Did you mean a or b?", "Known: a, b." or "There is none.".
    """
    names = sorted(known)
    folded = {entry: entry.casefold() for entry in names}
    near = difflib.get_close_matches(name.casefold(), dict.fromkeys(folded.values()), n=3, cutoff=0.5)
    if near:
        nearest = [entry for match in near for entry in names if folded[entry] == match]
        return "Did you mean " + " or ".join(nearest[:3]) + "?"
    return "Known: " + ", ".join(names) + "." if names else "There is none."


def without_surrogates(text: str) -> str:
    r"""Returns a text that can be encoded as UTF-8: bytes of file names that are not UTF-8 become escapes such as \xff."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # Half of a surrogate pair, which no file name has.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def clear_frames(error: BaseException) -> None:
    """Drops the local variables of all frames in the tracebacks of an error and of its causes; it can still be logged.

    This frees memory early, such as the pixels to which the traceback of an error in an image decoder refers.
    """
    found: BaseException | None = error
    while found is not None:
        traceback.clear_frames(found.__traceback__)
        found = found.__cause__ or found.__context__


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or the name of its class if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
