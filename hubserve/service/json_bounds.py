"""Bounds on the JSON of a request, checked before it is parsed: a parser in C stops all other threads until it is done.

20 MB of JSON may be 20 megabytes of one image, or ten million numbers, empty lists or keys, each of which becomes an object.
Counting bytes takes 10 ms for 20 MB. With these bounds parsing takes at most about a tenth of a second, and some milliseconds
for a request without images, which is parsed in the event loop.
"""

MAX_BYTES = 100_000
"""Largest body of a request that has no images, in bytes."""

MAX_ENTRIES = 5_000
"""Largest number of texts and keys, of lists and objects, and of elements of such a body."""

MAX_TEXTS = 10_000
"""Largest number of texts, keys among them."""

MAX_LISTS = 100_000
"""Largest number of lists and objects: a tensor (n, 3, height, width) may have a list for each row of pixels."""

MAX_COMMAS = 3_000_000
"""Largest number of elements, about as many as 20 MB of numbers with seven digits."""


def too_many(body: bytes, *, most: int | None = None) -> str | None:
    """What the JSON in `body` has too many of, as a sentence; None where it is within the bounds.

    Counts bytes without regard to where they stand: a text may have commas and brackets too, but images in base64 have none.

    Args:
        body: The JSON.
        most: Largest number of each; None takes the bounds of a request with images.
    """
    texts, lists, elements = (MAX_TEXTS, MAX_LISTS, MAX_COMMAS) if most is None else (most, most, most)
    if body.count(b'"') > 2 * texts:
        return f"the JSON has more than {texts:,} texts and keys"
    if body.count(b"[") + body.count(b"{") > lists:
        return f"the JSON has more than {lists:,} lists and objects"
    if body.count(b",") > elements:
        return f"the JSON has more than {elements:,} elements"
    return None
