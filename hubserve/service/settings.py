"""Settings of the service, read from the environment once, at start-up."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from hubserve.preprocess import MAX_PIXELS

PREFIX = "HUBSERVE_"

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Token = Annotated[SecretStr, Field(min_length=8)]


class ServiceSettings(BaseModel):
    """Settings, each read from the variable HUBSERVE_ and its name in capitals, such as HUBSERVE_MODEL.

    Attributes:
        model: Name, tag or alias that answers where a request names none. None means the alias `production`, or without one the
            newest version in the store.
        backend: What runs the models: the name of a format in their packages, or "openvino".
        device: "cpu", "cuda", or "auto", which is a GPU where there is one.
        threads: Number of threads that classify; None means the number measured to be fastest at start-up.
        session_threads: Number of cores that each of them uses for inference; None means measured at start-up.
        max_batch: Largest number of images that a thread classifies at once; None means measured at start-up.
        max_waiting: Largest number of images that wait or are being classified; requests beyond it are refused with 503.
        max_images: Largest number of images in one request.
        max_body_mb: Largest body of a request, in megabytes (10^6 bytes).
        max_pending_mb: Largest size of the bodies of all requests together that are held at once, in megabytes.
        max_megapixels: Largest number of pixels of an image, in millions.
        body_seconds: Time within which a body must be received.
        answer_seconds: Time within which images must be classified after the body was received; 503 after that.
        resolve_seconds: Time between two looks at the store for new versions.
        model_memory_mb: Largest memory of all loaded models, in megabytes; beyond it, the least recently used are unloaded.
        drain_seconds: Time after SIGTERM in which clients are asked to connect elsewhere, before the server stops listening.
        max_exports: Largest number of exports that run at once.
        max_search_jobs: Largest number of searches that run when another is started over HTTP.
        token: Token that a request must have to change something; None refuses all changes.
        read_token: Token that a request must have to read or classify; None requires none.
        tracing: Whether every request passes BentoML's tracing and metrics, which takes a tenth of the time of an image.
        access_log: Whether each request is one line of the log.
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
        """The settings of this process. Raises pydantic's ValidationError, which names the setting."""
        given = {name: os.environ.get(PREFIX + name.upper()) for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in given.items() if value})


def sentence(error: ValidationError) -> str:
    """What is wrong with the settings, in one line. No value is in it: it may be a secret."""
    found = (
        f"{PREFIX}{'_'.join(map(str, one['loc'])).upper()}: {one['msg'][0].lower()}{one['msg'][1:]}" for one in error.errors()
    )
    return "; ".join(found)
