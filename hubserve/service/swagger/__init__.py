"""Serves the page at `/docs`: Swagger UI, which shows the routes of `/docs.json` and sends requests to them.

Swagger UI's script and stylesheet are those in BentoML's wheel, so that nothing is loaded from elsewhere. They are read at the
first request for them. The page and its script are ours, in this folder.
"""

from functools import cache
from pathlib import Path

import bentoml
from anyio import to_thread
from fastapi import APIRouter, HTTPException, Request, Response

from hubserve.service import page

PATH = "/docs"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        # Swagger UI's stylesheet has its icons in data: addresses; an answer that is an image is shown from a blob: address.
        "img-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy of this page: its own files alone, and no inline script.

Unlike the policy of the web page it allows scripts to turn text into markup, as Swagger UI does with descriptions. It shows the
OpenAPI document, which has no text of a package or of a client.
"""

HEADERS = {**page.HEADERS, "Content-Security-Policy": POLICY}
"""Headers of each answer with a file of this page."""

_HERE = Path(__file__).parent
_BENTOML = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"

PATHS = {
    "start.js": _HERE / "start.js",
    "start.css": _HERE / "start.css",
    "swagger-ui-bundle.js": _BENTOML / "swagger-ui-bundle.js",
    "swagger-ui.css": _BENTOML / "swagger-ui.css",
}
"""The files below /docs/ by name. No other name is served."""

router = APIRouter(include_in_schema=False)


@router.api_route(PATH, methods=["GET", "HEAD"])
async def swagger_page(request: Request) -> Response:
    """Answers with the page."""
    return page.page_answer(request, await to_thread.run_sync(_read, _HERE / "index.html"), HEADERS)


@router.api_route(f"{PATH}/{{name}}", methods=["GET", "HEAD"])
async def swagger_file(request: Request, name: str) -> Response:
    """Answers with a script or a stylesheet of the page; with 404 for any other name, or if BentoML's wheel lacks the file."""
    if name not in PATHS:
        raise HTTPException(404, f"{PATH} has no file {name!r}")
    try:
        file = await to_thread.run_sync(_read, PATHS[name])
    except FileNotFoundError as error:
        raise HTTPException(
            404, f"BentoML {bentoml.__version__} has no {name}; open /docs.json in a Swagger UI of your own"
        ) from error
    return page.page_answer(request, file, HEADERS)


_read = cache(page.read_page_file)
