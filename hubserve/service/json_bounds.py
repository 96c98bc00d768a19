"""`too_many`: checks bounds on the JSON body of a request before it is parsed.

A JSON parser written in C stops all other threads until it is done. 20 MB of JSON may be a single image, or ten million
numbers, empty lists or keys, for each of which an object is created. Counting bytes takes 10 ms for 20 MB. Within these bounds,
parsing takes at most about a tenth of a second. For a request without images it takes a few milliseconds, so that it can be
parsed in the event loop.
"""

MAX_BYTES = 100_000
"""Largest size of the body of a request without images, in bytes."""

MAX_ENTRIES = 5_000
"""Largest number, in the body of a request without images, of strings; of lists and objects; and of elements."""

MAX_TEXTS = 10_000
"""Largest number of strings, including keys, in the body of a request with images."""

MAX_LISTS = 100_000
"""Largest number of lists and objects in such a body; a tensor (n, 3, height, width) may have a list for each row of pixels."""

MAX_COMMAS = 3_000_000
"""Largest number of elements in such a body, about as many as 20 MB of numbers with seven digits have."""


def too_many(body: bytes, *, most: int | None = None) -> str | None:
    """Returns a sentence that says what the JSON in `body` has too many of; None if it is within the bounds.

    Quotes, brackets and commas are counted, also inside strings. Images in base64 contain none of these.

    Args:
        body: The JSON.
        most: Largest number of strings, which is also that of lists and objects together, and that of elements. None takes the
            bounds of a request with images.
    """
    texts, lists, elements = (MAX_TEXTS, MAX_LISTS, MAX_COMMAS) if most is None else (most, most, most)
    if body.count(b'"') > 2 * texts:
        return f"the JSON has more than {texts:,} texts and keys"
    if body.count(b"[") + body.count(b"{") > lists:
        return f"the JSON has more than {lists:,} lists and objects"
    if body.count(b",") > elements:
        return f"the JSON has more than {elements:,} elements"
    return None
