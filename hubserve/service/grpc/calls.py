"""`InferenceCalls`: answers the methods of the Open Inference Protocol over gRPC.

A call is checked in the order of a request over HTTP: token, length of the queue, size and time of the message, parsing. So
each method reads its one message itself, after the token was looked at.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from anyio import to_thread
from starlette.requests import HTTPConnection

from hubserve.errors import BodyTooLargeError, HubserveError, LateAnswerError, OverloadedError, SlowRequestError
from hubserve.service import json_bounds
from hubserve.service.auth import check_reader
from hubserve.service.error_responses import error_body, status_of
from hubserve.service.grpc.infer_codec import join_response, read_infer, read_infer_tensors, read_message, write_infer
from hubserve.service.grpc.messages import MESSAGES, SERVICE
from hubserve.service.inference_metadata import model_metadata, server_metadata
from hubserve.service.inference_texts import TextsRequest
from hubserve.service.json_log import FIELDS
from hubserve.service.loaded_model import LoadedModel
from hubserve.service.metrics import count_request
from hubserve.service.outgoing_text import without_folders
from hubserve.service.request_identity import CURRENT, RequestIdentity, identify
from hubserve.service.service_state import ServiceState
from hubserve.service.tensor_engine import TensorEngine
from hubserve.service.tensor_protocol import encode_tensors
from hubserve.storage_faults import storage_error

log = logging.getLogger("hubserve.service")
access_log = logging.getLogger("hubserve.access")

Code = grpc.StatusCode

CODES: dict[int, grpc.StatusCode] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.FAILED_PRECONDITION,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.INVALID_ARGUMENT,
    422: Code.INVALID_ARGUMENT,
    503: Code.UNAVAILABLE,
    507: Code.RESOURCE_EXHAUSTED,
}
"""Status of gRPC by the HTTP status of an error; others are INTERNAL. A `LateAnswerError` is DEADLINE_EXCEEDED."""

LONGEST_MESSAGE = 1_000
"""Largest number of characters of an error message: clients accept 8 kB of metadata, in which one may take nine bytes."""

OPEN = frozenset({"ServerLive", "ServerReady"})
"""Methods that need no token, as health checks over HTTP."""


class InferenceCalls(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers calls of the Open Inference Protocol.

    Args:
        shared: State that all requests share.
    """

    def __init__(self, shared: ServiceState) -> None:
        self._shared = shared
        settings = shared.settings
        self._max_bytes = int(settings.max_body_mb * 1e6)
        # A message holds no memory that is counted until gRPC has all of it, so that few are read at once.
        self._readers = asyncio.Semaphore(max(1, int(settings.max_pending_mb / settings.max_body_mb)))
        self._methods: dict[str, Callable[[bytes], Awaitable[bytes]]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Returns what answers a method; None for one that does not exist, which gRPC answers with UNIMPLEMENTED."""
        name = handler_call_details.method.removeprefix(SERVICE)
        if name not in self._methods:
            return None
        # Of a stream, although it has one message: that of a unary method is read before the method is called.
        return grpc.stream_unary_rpc_method_handler(partial(self._call, name))

    async def _call(self, name: str, _: object, context: Any) -> bytes:
        """Returns the encoded answer of the method `name`. If it fails, ends the call with the error's status and message."""
        start = time.perf_counter()
        headers = [(key.encode(), value if isinstance(value, bytes) else value.encode()) for key, value in _metadata(context)]
        identity, tracing = identify(headers), self._shared.tracing
        if tracing is not None:
            tracing.start(identity, "gRPC")
        CURRENT.set(identity)
        context.set_trailing_metadata(tuple((key.decode(), value.decode()) for key, value in identity.headers))
        code, message, answer = Code.CANCELLED, "", b""
        try:
            answer = await self._answer(name, headers, context)
            code = Code.OK
        except HubserveError as error:
            code, message = _status(error)
        except Exception:
            log.exception("a call failed")
            code, message = Code.INTERNAL, "see the server's log"
        finally:
            self._note(name, code, identity, time.perf_counter() - start)
        if code is not Code.OK:
            await context.abort(code, message)
        return answer

    async def _answer(self, name: str, headers: list[tuple[bytes, bytes]], context: Any) -> bytes:
        """Checks a call, reads its message and returns the answer. Raises HubserveError if the call is refused or fails."""
        infers = name == "ModelInfer"
        if name not in OPEN:
            check_reader(HTTPConnection({"type": "http", "headers": headers}), self._shared.settings)
        if infers:
            self._shared.queue.check_room()
        body = await self._read(context)
        if not infers and len(body) > json_bounds.MAX_BYTES:
            raise BodyTooLargeError(f"the message is longer than the allowed {json_bounds.MAX_BYTES:,} bytes")
        with self._shared.body_reader.held(len(body)):
            return await self._methods[name](body)

    async def _read(self, context: Any) -> bytes:
        """Returns the encoded message of a call.

        Raises:
            OverloadedError: Too many other messages are read.
            SlowRequestError: It was not received in time.
        """
        seconds, turn = self._shared.settings.body_seconds, False
        try:
            async with asyncio.timeout(seconds), self._readers:
                turn = True
                body = await context.read()
        except TimeoutError as error:
            if not turn:
                raise OverloadedError("too many other messages are received; ask again in a second") from error
            raise SlowRequestError(f"the message did not come within {seconds:g} s: send a smaller one") from error
        return body if isinstance(body, bytes) else b""  # The end of the stream: an empty message.

    async def _server_live(self, body: bytes) -> bytes:
        """Answers that the server lives."""
        return _encoded("ServerLiveResponse", live=True)

    async def _server_ready(self, body: bytes) -> bytes:
        """Answers whether the default model is loaded and the server is not shutting down."""
        return _encoded("ServerReadyResponse", ready=await self._shared.why_not_ready() is None)

    async def _server_metadata(self, body: bytes) -> bytes:
        """Answers with the name, the version and the protocol extensions of the server."""
        return _encoded("ServerMetadataResponse", **server_metadata())

    async def _model_ready(self, body: bytes) -> bytes:
        """Answers that a model is loaded, after loading it if it is not."""
        message = read_message(body, "ModelReadyRequest")
        await self._served(message.name, message.version)
        return _encoded("ModelReadyResponse", ready=True)

    async def _model_metadata(self, body: bytes) -> bytes:
        """Answers with the versions, inputs and outputs of a model."""
        message = read_message(body, "ModelMetadataRequest")
        served = await self._served(message.name, message.version)
        return _encoded("ModelMetadataResponse", **model_metadata(self._shared, served, message.name))

    async def _model_infer(self, body: bytes) -> bytes:
        """Runs a model on images, texts or tensors. Raises LateAnswerError if that takes longer than `answer_seconds`."""
        settings = self._shared.settings
        try:
            async with asyncio.timeout(settings.answer_seconds):
                return await self._inferred(body)
        except TimeoutError as error:
            raise LateAnswerError(
                f"not classified within {settings.answer_seconds:g} s; ask again later, or with fewer or smaller images at once"
            ) from error

    async def _inferred(self, body: bytes) -> bytes:
        """Returns the encoded answer of the method ModelInfer."""
        message = await to_thread.run_sync(read_message, body, "ModelInferRequest")
        max_images = self._shared.settings.max_images
        served = await self._served(message.model_name, message.model_version)
        if (engine := served.tensor_engine) is not None:
            return await self._inferred_tensors(message, served, engine)
        asked = await to_thread.run_sync(partial(read_infer, max_images=max_images), message)
        features = asked.wants_features(has_features=served.image_engine.feature_width is not None)
        outcomes = await self._shared.runs.images(served, asked.images, 1, features=features)
        encode = partial(write_infer, max_bytes=self._max_bytes)
        return await to_thread.run_sync(encode, message, asked.request, outcomes, served)

    async def _inferred_tensors(self, message: Any, served: LoadedModel, engine: TensorEngine) -> bytes:
        """Returns the encoded answer of the method ModelInfer for a model of other inputs than images."""
        signature = engine.signature
        most, texts = self._shared.settings.max_images, served.classifies_texts
        read = partial(read_infer_tensors, signature=signature, max_rows=most, texts=texts)
        asked = await to_thread.run_sync(read, message)
        if isinstance(asked, TextsRequest):
            outcomes = await self._shared.runs.texts(served, asked.texts, 1)
            encode = partial(write_infer, max_bytes=self._max_bytes)
            return await to_thread.run_sync(encode, message, asked.request, outcomes, served)
        outputs = await self._shared.runs.tensors(served, asked.inputs)

        def write() -> bytes:
            encoded = encode_tensors(asked.request, outputs, signature, engine.labels, max_bytes=self._max_bytes)
            return join_response(message, served, encoded)

        return await to_thread.run_sync(write)

    async def _served(self, name: str, version: str) -> LoadedModel:
        """Returns the loaded model that answers for a name, or for a version of it. Raises as `LiveModels.get` does."""
        return await self._shared.live_models.get(f"{name}:{version}" if version else name)

    def _note(self, name: str, code: grpc.StatusCode, identity: RequestIdentity, seconds: float) -> None:
        """Counts a call, logs it if the settings say so, and ends its span if it has one."""
        route = SERVICE + name
        count_request(route, code.name, seconds)
        if self._shared.settings.logs_requests:
            fields = {"method": "gRPC", "path": route, "route": route, "status": code.name, "ms": round(seconds * 1e3, 1)}
            text = "gRPC %s %s %.1f ms, id %s"
            access_log.info(text, route, code.name, seconds * 1e3, identity.id, extra={FIELDS: fields})
        if self._shared.tracing is not None:
            self._shared.tracing.end(identity, route, code.name)


def _metadata(context: Any) -> list[tuple[str, str | bytes]]:
    """Returns the metadata of a call, whose keys are in lower case."""
    return list(context.invocation_metadata() or ())


def _encoded(kind: str, /, **fields: Any) -> bytes:
    """Returns an encoded message of the class `kind`."""
    return bytes(MESSAGES[kind](**fields).SerializeToString())


def _status(error: HubserveError) -> tuple[grpc.StatusCode, str]:
    """Returns the status and the message of a call that failed with `error`. Logs it if the status is INTERNAL."""
    error = storage_error(error) or error
    code = Code.DEADLINE_EXCEEDED if isinstance(error, LateAnswerError) else CODES.get(status_of(error), Code.INTERNAL)
    if code is Code.INTERNAL:
        log.error("a call failed", exc_info=error)
    return code, without_folders(error_body(error)["error"]["message"])[:LONGEST_MESSAGE]
