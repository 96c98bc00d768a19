"""Makes messages of errors printable and short, and frees the memory to which their tracebacks refer."""

import traceback


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
