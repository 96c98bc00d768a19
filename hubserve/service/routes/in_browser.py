"""Routes that send what a browser needs to classify by itself: a page, ONNX Runtime's files for browsers, and a model.

They answer with 404 unless the setting `web_runtime` names a folder with ONNX Runtime's files.
"""

from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import FileResponse

from hubserve.errors import ModelNotFoundError
from hubserve.package.formats import FORMATS
from hubserve.service.page import FILES, HEADERS, POLICY, page_answer
from hubserve.service.service_state import ServiceState
from hubserve.service.settings import WEB_RUNTIME_FILES, ServiceSettings
from hubserve.service.unknown_parameters import only_parameters
from hubserve.service.unreadable_package import refused_if_unreadable
from hubserve.store import StoredModel

router = APIRouter(include_in_schema=False)

ONNX = FORMATS["onnx"].file

HEADERS_WITH_WASM = HEADERS | {
    "Content-Security-Policy": POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
}
"""Headers of each answer with the HTML of this page. Unlike the page at `/`, it may compile WebAssembly."""

_KINDS = {".mjs": "text/javascript; charset=utf-8", ".wasm": "application/wasm"}


def why_not_in_browser(model: StoredModel, settings: ServiceSettings) -> str | None:
    """Returns the reason why browsers cannot run a version by themselves; None if they can.

    Raises:
        PackageError: The package of the version cannot be read.
    """
    if settings.web_runtime is None:
        return "this server offers no classification in the browser: HUBSERVE_WEB_RUNTIME names no folder"
    manifest = model.package.manifest
    if manifest.preprocess is None:
        return f"{model.tag} is no image classifier"
    if "onnx" not in manifest.exports:
        return f"{model.tag} has no ONNX file, which browsers run"
    size = manifest.files[ONNX].bytes / 1e6
    if size > settings.web_model_mb:
        return f"{model.tag} has {size:.1f} MB; browsers get at most {settings.web_model_mb:g} (HUBSERVE_WEB_MODEL_MB)"
    return None


@router.api_route("/page/in-browser", methods=["GET", "HEAD"])
async def in_browser_page(request: Request) -> Response:
    """Answers with the page that classifies in the browser; with 404 if the server does not offer that."""
    if _settings(request).web_runtime is None:
        raise HTTPException(404, "this server offers no classification in the browser")
    return page_answer(request, FILES["in_browser.html"], HEADERS_WITH_WASM)


@router.api_route("/page/runtime/{name}", methods=["GET", "HEAD"])
async def runtime_file(request: Request, name: str) -> Response:
    """Answers with one of `WEB_RUNTIME_FILES`; with 404 for any other name, and if the server does not offer them."""
    folder = _settings(request).web_runtime
    if folder is None or name not in WEB_RUNTIME_FILES:
        raise HTTPException(404, f"the page has no file {name!r}")
    return await to_thread.run_sync(_file_answer, request, folder / name, _KINDS[Path(name).suffix])


@router.get("/models/{tag}/in-browser", dependencies=[Depends(only_parameters())])
async def model_in_browser(request: Request, tag: str) -> dict[str, Any]:
    """Answers with what a browser must know of a version to run it: labels, preprocessing, temperature, size of the file.

    The size is that of the ONNX file in bytes. The answer is 404 if browsers cannot run the version; the message says why.
    """
    model = await to_thread.run_sync(_offered, request, tag)
    manifest = model.package.manifest
    with refused_if_unreadable(model):
        labels = await to_thread.run_sync(lambda: list(model.package.labels))
    return {
        "tag": model.tag,
        "labels": labels,
        "preprocess": manifest.image_preprocess.model_dump(mode="json"),
        "temperature": manifest.temperature,
        "bytes": manifest.files[ONNX].bytes,
    }


@router.get("/models/{tag}/in-browser/model.onnx", dependencies=[Depends(only_parameters())])
async def onnx_file(request: Request, tag: str) -> Response:
    """Answers with the ONNX file of a version; with 404 if browsers cannot run it, with 304 if the client has the file."""
    model = await to_thread.run_sync(_offered, request, tag)
    return await to_thread.run_sync(_file_answer, request, model.package.path / ONNX, "application/octet-stream")


def _settings(request: Request) -> ServiceSettings:
    shared: ServiceState = request.app.state.shared
    return shared.settings


def _offered(request: Request, name: str) -> StoredModel:
    """Returns the version that a name, tag or alias stands for.

    Raises:
        ModelNotFoundError: There is no such version, it is refused, or browsers cannot run it.
        ModelRefusedError: The package of the version cannot be read.
        StoreError: No such version is known, and the store could not be read; `StorageError` if access was denied.
    """
    shared: ServiceState = request.app.state.shared
    model = shared.find_model(name)
    state, problem = shared.live_models.state_of(model)
    with refused_if_unreadable(model):
        reason = f"{model.tag} is refused: {problem}" if state == "refused" else why_not_in_browser(model, shared.settings)
    if reason is not None:
        raise ModelNotFoundError(reason)
    return model


def _file_answer(request: Request, path: Path, kind: str) -> Response:
    """Returns a response with a file, or 304 if the client has it already. Raises OSError if it cannot be read."""
    headers = {name: value for name, value in HEADERS.items() if name != "Vary"}
    answer = FileResponse(path, media_type=kind, headers=headers, stat_result=path.stat())
    known = request.headers.get("if-none-match", "")
    if answer.headers["etag"] in (tag.strip() for tag in known.split(",")):
        return Response(status_code=304, headers={**headers, "ETag": answer.headers["etag"]})
    return answer
