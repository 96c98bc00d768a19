"""`Tracing`: sends OpenTelemetry spans of requests, and of the queue, the decoding and the inference of their images.

A request has a span of kind SERVER, named by its method and route, whose parent is the caller's span if the request has the
header `traceparent`. Below it, each image has the spans "queue", "decode" and "infer". Spans are sent by OTLP over HTTP; the
variables of OpenTelemetry, such as OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_SERVICE_NAME, say where to and under which name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hubserve import __version__
from hubserve.errors import MissingExtraError
from hubserve.service.engine import Answer
from hubserve.service.fair_order import QueuedImage
from hubserve.service.request_identity import RequestIdentity
from hubserve.service.tensor_engine import TensorAnswer

FLUSH_MS = 2_000
"""Longest time in milliseconds that the end of the server waits until the last spans are sent."""

_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Starts and ends the spans of requests, and adds those of their images.

    Args:
        share: Share of the requests that are traced, above 0 and at most 1. The flag "sampled" of a request's `traceparent`
            decides instead, if it has one.
        processor: Receives the spans; None sends them by OTLP in a thread, at most 2,048 waiting, and drops others.

    Raises:
        MissingExtraError: `processor` is None, and OpenTelemetry's OTLP exporter is not installed.
    """

    def __init__(self, share: float, processor: SpanProcessor | None = None) -> None:
        # The variable OTEL_SERVICE_NAME is stronger than our name.
        names = Resource({SERVICE_NAME: "hubserve", SERVICE_VERSION: __version__}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)), resource=names, shutdown_on_exit=False)
        self._provider.add_span_processor(processor or _otlp_processor())
        self._tracer = self._provider.get_tracer("hubserve", __version__)

    def start(self, identity: RequestIdentity, method: str) -> None:
        """Starts the span of a request, and sets it and the answer's `traceparent` in `identity`.

        Args:
            identity: Identity of the request.
            method: Method of the request, the first part of the span's name.
        """
        carrier = {} if identity.traceparent is None else {"traceparent": identity.traceparent.decode("ascii")}
        parent = _PROPAGATOR.extract(carrier, Context())
        attributes = {"http.request.method": method, "hubserve.request_id": identity.id}
        span = self._tracer.start_span(method, parent, kind=SpanKind.SERVER, attributes=attributes)
        context = span.get_span_context()
        identity.span = span
        identity.traceparent = b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)

    def end(self, identity: RequestIdentity, route: str, status: int | str) -> None:
        """Ends the span of a request, if it has one.

        It gets the status ERROR for HTTP statuses from 500 on, and for INTERNAL, UNAVAILABLE and DEADLINE_EXCEEDED of gRPC.

        Args:
            identity: Identity of the request.
            route: Path pattern of the route, which ends the span's name.
            status: HTTP status of the answer; for gRPC the name of the status.
        """
        span: Span | None = identity.span
        if span is None:
            return
        if span.is_recording():
            span.update_name(f"{getattr(span, 'name', '')} {route}")
            span.set_attribute("http.route", route)
            kind = "http.response.status_code" if isinstance(status, int) else "rpc.grpc.status_code"
            span.set_attribute(kind, status)
            if (isinstance(status, int) and status >= 500) or status in ("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"):
                span.set_status(Status(StatusCode.ERROR))
        span.end()

    def note_images(
        self,
        identity: RequestIdentity,
        model: str,
        images: Sequence[QueuedImage],
        outcomes: Sequence[Answer | TensorAnswer | BaseException],
    ) -> None:
        """Adds the spans of the images of a request, if it is traced.

        Args:
            identity: Identity of the request.
            model: Tag of the version that classified the images.
            images: The images.
            outcomes: Answer or error of each image. The last span of an image with an error has the status ERROR.
        """
        span: Span | None = identity.span
        if span is None or not span.is_recording():
            return
        span.set_attribute("hubserve.model", model)
        parent = trace.set_span_in_context(span, Context())
        # Times are measured by a clock that is never set; OpenTelemetry wants those of the calendar.
        offset = time.time() - time.perf_counter()
        for image, outcome in zip(images, outcomes, strict=True):
            steps = image.steps
            for name, start, end in steps:
                step = self._tracer.start_span(name, parent, start_time=int((start + offset) * 1e9))
                if name == "infer" and isinstance(outcome, Answer | TensorAnswer):
                    step.set_attribute("hubserve.batch_images", outcome.batch_size)
                if name == steps[-1][0] and isinstance(outcome, BaseException):
                    step.set_status(Status(StatusCode.ERROR, type(outcome).__name__))
                step.end(int((end + offset) * 1e9))

    def close(self) -> None:
        """Sends the spans that wait, for at most `FLUSH_MS`; those that are not sent by then are lost."""
        # `force_flush` has no limit of its own and `shutdown` one of 30 s, if the collector does not answer.
        sending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(FLUSH_MS / 1000)


def _otlp_processor() -> SpanProcessor:
    """Returns what sends spans by OTLP over HTTP. Raises MissingExtraError if the exporter is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise MissingExtraError(
            "HUBSERVE_TRACING needs OpenTelemetry's OTLP exporter: pip install 'hubserve[traces]', or unset HUBSERVE_TRACING"
        ) from error
    return BatchSpanProcessor(OTLPSpanExporter())
