"""Settings of the service, read from the environment once, at start-up."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from hubserve.preprocess import MAX_PIXELS

PREFIX = "HUBSERVE_"

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Token = Annotated[SecretStr, Field(min_length=8)]


class ServiceSettings(BaseModel):
    """Each is set by the variable HUBSERVE_ and its name in capitals, such as HUBSERVE_MODEL.

    Attributes:
        model: name, tag or alias that answers where a request names none; the alias `production`, or else the newest in the
            store, unless set.
        backend: what runs the models: a form of their packages, or OpenVINO.
        device: "cpu", "cuda", or "auto", which takes a GPU where there is one.
        threads: that classify; measured at start-up unless set.
        session_threads: cores that each of them uses for inference; measured at start-up unless set.
        max_batch: pictures that a thread takes at once, where so many wait; measured at start-up unless set.
        max_waiting: pictures that may be in the house; a request beyond that is refused at once with 503.
        max_images: of one request.
        max_body_mb: of a request.
        max_pending_mb: of all requests together whose bodies are held.
        max_megapixels: of a picture.
        body_seconds: in which a body must have come.
        answer_seconds: in which pictures must be classified, from when their body is there; 503 after that.
        resolve_seconds: between two looks at the store for what is new.
        model_memory_mb: of all loaded models; beyond it, those that were not asked for longest are unloaded.
        drain_seconds: after SIGTERM in which connections are asked to go elsewhere, before the server stops to listen.
        max_exports: that run at once.
        max_search_jobs: that run at once, before another is started over HTTP.
        token: a request that changes something must bear; without it nobody may change anything.
        read_token: a request that only reads, or classifies, must bear; without it everybody may.
        tracing: every request passes BentoML's tracing and metrics, which costs about as much as a tenth of a picture.
        access_log: one line a request.
    """

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    backend: Literal["onnx", "onnx-fp16", "onnx-int8", "openvino"] = "onnx"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    session_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    max_batch: Annotated[int, Field(ge=1, le=1024)] | None = None
    max_waiting: Annotated[int, Field(ge=1)] = 64
    max_images: Annotated[int, Field(ge=1)] = 32
    max_body_mb: Amount = 20.0
    max_pending_mb: Amount = 256.0
    max_megapixels: Amount = MAX_PIXELS / 1e6
    body_seconds: Amount = 30.0
    answer_seconds: Amount = 60.0
    resolve_seconds: Seconds = 0.5
    model_memory_mb: Amount = 4096.0
    drain_seconds: Seconds = 1.0
    max_exports: Annotated[int, Field(ge=1)] = 1
    max_search_jobs: Annotated[int, Field(ge=1)] = 2
    token: Token | None = None
    read_token: Token | None = None
    tracing: bool = False
    access_log: bool = False

    @classmethod
    def from_environment(cls) -> ServiceSettings:
        """Raises pydantic's ValidationError, which names the setting, where a value is not allowed."""
        given = {name: os.environ.get(PREFIX + name.upper()) for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in given.items() if value})
