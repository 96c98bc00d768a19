"""Bounds on the JSON of a request, checked before it is parsed: a parser in C stops all other threads until it is done.

20 MB of JSON may be 20 megabytes of one image, or ten million numbers, empty lists or keys, each of which becomes an object.
Counting bytes takes 10 ms for 20 MB. With these bounds parsing takes at most about a tenth of a second.
"""

MAX_BYTES = 250_000
"""Largest JSON of a request that has no images, in bytes."""

MAX_TEXTS = 10_000
"""Largest number of texts, keys among them."""

MAX_LISTS = 100_000
"""Largest number of lists and objects: a tensor (n, 3, height, width) may have a list for each row of pixels."""

MAX_COMMAS = 3_000_000
"""Largest number of elements, about as many as 20 MB of numbers with seven digits."""


def too_many(body: bytes) -> str | None:
    """What the JSON in `body` has too many of, as a sentence; None where it is within the bounds.

    Counts bytes without regard to where they stand: a text may have commas and brackets too, but images in base64 have none.
    """
    if body.count(b'"') > 2 * MAX_TEXTS:
        return f"the JSON has more than {MAX_TEXTS:,} texts and keys"
    if body.count(b"[") + body.count(b"{") > MAX_LISTS:
        return f"the JSON has more than {MAX_LISTS:,} lists and objects"
    if body.count(b",") > MAX_COMMAS:
        return f"the JSON has more than {MAX_COMMAS:,} elements"
    return None
