"""Serves the web page at `/`, with its security headers. Its files are read once, at import."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Content type of each file name extension of the page's files. Other files in this folder are not served."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        # blob: is an image that the visitor chose, or an arch drawing fetched with a token.
        "img-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Labels and tags come from packages that anybody wrote: with this, no script can turn text into markup.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""The Content-Security-Policy of the page. It may load only its own files, and no script may turn text into markup."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # A browser asks each time and gets 304, so a new version of the server never runs with half an old page.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
"""Headers of each answer with a file of the page."""


@dataclass(frozen=True)
class PageFile:
    """One file of the page.

    Attributes:
        kind: Content type.
        plain: Content of the file.
        packed: Content of the file, compressed by gzip.
        etag: The value of the header ETag, which contains a hash of the content.
    """

    kind: str
    plain: bytes
    packed: bytes
    etag: str


def read_page_file(path: Path) -> PageFile:
    """Reads a file and returns it together with its compressed content and its entity tag.

    Args:
        path: The file, whose file name extension must be one of `KINDS`.

    Raises:
        OSError: The file cannot be read.
    """
    plain = path.read_bytes()
    etag = f'W/"{hashlib.sha256(plain).hexdigest()[:16]}"'
    return PageFile(KINDS[path.suffix], plain, gzip.compress(plain, mtime=0), etag)


FILES = {path.name: read_page_file(path) for path in sorted(Path(__file__).parent.iterdir()) if path.suffix in KINDS}
"""The files of the page by name. No other name is served."""

IN_BROWSER = ("in_browser.js", "prepare.js")
"""Scripts that only the page for classification in the browser uses (`hubserve.service.routes.in_browser`)."""

router = APIRouter(include_in_schema=False)


_SCRIPTS = ", ".join(f"<page/{name}>; rel=modulepreload" for name in FILES if name.endswith(".js") and name not in IN_BROWSER)
"""Value of the header Link of the page: a browser preloads all scripts at once, instead of finding them import by import."""


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """Answers with the web page."""
    answer = page_answer(request, FILES["index.html"])
    answer.headers["Link"] = _SCRIPTS
    return answer


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def page_file(request: Request, name: str) -> Response:
    """Answers with a file of the web page, such as a script or the stylesheet; with 404 if `FILES` does not have the name."""
    if name not in FILES:
        raise HTTPException(404, f"the page has no file {name!r}")
    return page_answer(request, FILES[name])


def page_answer(request: Request, file: PageFile, headers: Mapping[str, str] = HEADERS) -> Response:
    """Returns a response with a file of the page, and with `headers`.

    The file is compressed if the client accepts gzip. If the client already has the file, the response is 304 without content.
    """
    headers = {**headers, "ETag": file.etag}
    known = request.headers.get("if-none-match", "")
    if file.etag in (tag.strip() for tag in known.split(",")) or known.strip() == "*":
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.kind, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.plain, media_type=file.kind, headers=headers)
