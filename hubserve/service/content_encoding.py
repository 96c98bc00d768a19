"""Checks the header Content-Encoding of a request, and decompresses its body by gzip or deflate."""

import zlib
from collections.abc import Iterator

from starlette.requests import Request

from hubserve.errors import EncodingError, RequestBodyError

STEP = 1_000_000
"""Largest number of bytes that one step of the decompression yields."""

RAW_DEFLATE, GZIP_OR_ZLIB = -15, 47
"""Arguments `wbits` of zlib: without a header, as some clients send "deflate"; and by the header that the data begin with."""

KNOWN = ("gzip", "x-gzip", "deflate")
"""Values of the header for a compressed body, in lower case."""

ACCEPTED = "gzip, deflate"
"""Header Accept-Encoding of an answer that refuses the encoding of a body (RFC 9110, section 12.5.3)."""


def content_encoding(request: Request) -> str | None:
    """Returns how the body of a request is compressed, as one of `KNOWN`; None if it is not.

    Raises:
        EncodingError: It is compressed in another way than gzip or deflate, or more than once.
    """
    wanted = encodings(request)
    if not wanted:
        return None
    if len(wanted) > 1 or wanted[0] not in KNOWN:
        raise EncodingError(
            f"content-encoding {', '.join(wanted)[:60]!r}: a body may be compressed once, by gzip or deflate, or sent as it is",
            accepted=ACCEPTED,
        )
    return wanted[0]


def encodings(request: Request) -> list[str]:
    """Returns the encodings of a request's body in lower case, in the order in which they were applied, without "identity"."""
    given = request.headers.get("content-encoding", "")
    return [name for part in given.split(",") if (name := part.strip().lower()) not in ("", "identity")]


def decompressed(body: bytes, encoding: str) -> Iterator[bytes]:
    """Decompresses a body and yields the result in parts of at most `STEP` bytes. An empty body yields nothing.

    Args:
        body: The whole compressed body.
        encoding: One of `KNOWN`. "deflate" accepts zlib's format with or without its header, as some clients leave it out. The
            others accept gzip's format and zlib's, also several compressed members one after the other.

    Raises:
        RequestBodyError: The body is in none of the formats that `encoding` accepts, is truncated, or has bytes after its end.
    """
    try:
        rest = body
        while rest:  # The format gzip may have several members, one after the other.
            stream = zlib.decompressobj(_window(rest, encoding))
            while not stream.eof:
                part = stream.decompress(rest, STEP)
                rest = stream.unconsumed_tail
                if part:
                    yield part
                elif not stream.eof and not rest:
                    raise RequestBodyError(f"the body cannot be read as {encoding}: it is truncated")
            rest = stream.unused_data
            if rest and encoding == "deflate":
                raise RequestBodyError(f"the body cannot be read as {encoding}: {len(rest)} bytes follow its end")
    except zlib.error as error:
        raise RequestBodyError(f"the body cannot be read as {encoding}: {error}") from error


def _window(body: bytes, encoding: str) -> int:
    """Returns the argument `wbits` of zlib for a body."""
    has_header = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return RAW_DEFLATE if encoding == "deflate" and not has_header else GZIP_OR_ZLIB
