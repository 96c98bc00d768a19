"""Settings of the service, read from the environment once, at start-up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

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
        max_waiting_megapixels: Largest number of pixels, in millions, of the images that wait or are being classified. A
            request of more than 16 megapixels gets at most half of what is left of this and of `max_waiting`, unless nothing
            else waits; beyond that it is refused with 503.
        max_images: Largest number of images in one request.
        max_body_mb: Largest body of a request, and largest answer to one, in megabytes (10^6 bytes); 413 beyond it. A body
            without images may have 0.1 megabytes.
        max_header_kb: Largest size of the line and the headers of a request, in kilobytes (10^3 bytes); 431 beyond it, and for
            more than 100 headers.
        max_connections: Largest number of connections of a process, or half of the files that it may open where that is less;
            beyond it, the connection that has waited longest for its client is closed.
        max_pending_mb: Largest size of the bodies of all requests together that are held at once, in megabytes.
        max_megapixels: Largest number of pixels of an image, in millions.
        body_seconds: Time within which the headers of a request must be received, and then its body; 408 after that. A client
            that reads nothing of its answer for as long is disconnected.
        answer_seconds: Time within which images must be classified after the body was received; 503 after that.
        resolve_seconds: Time between two looks at the store for new versions.
        model_memory_mb: Largest memory of all loaded models, in megabytes; beyond it, the least recently used are unloaded.
        load_seconds: Time within which a version that was never loaded on this machine must be loaded and run, by a process of
            its own, which may take as much memory as `model_memory_mb` and at most 75 % of what is available; a version that
            takes more is refused.
        drain_seconds: Time after SIGTERM in which clients are asked to connect elsewhere, before the server stops listening.
        max_exports: Largest number of exports that run at once.
        max_search_jobs: Largest number of searches that run when another is started over HTTP.
        upload_mb: Largest ZIP of images that may be uploaded, in megabytes; 413 beyond it.
        upload_expanded_mb: Largest size of the files in it together, in megabytes; 413 beyond it.
        upload_files: Largest number of files in it; 413 beyond it.
        upload_seconds: Time within which it must be received; 408 after that.
        data_roots: Folders, separated by colons, in which data sets and latency tables of definitions over HTTP must lie; their
            relative paths start in the first one. None is the folder `data` in HUBSERVE_HOME. 422 for all other paths.
        job_workers: Largest number of processes that evaluate trials or read images, in a definition over HTTP; None is the
            number of cores. 422 beyond it.
        job_trials: Largest number of trials of a definition over HTTP; 422 beyond it. A search without a number ends there.
        job_epochs: Largest number of epochs of one training of a definition over HTTP; 422 beyond it.
        job_modules: Largest number of torch modules of the networks of a job or an export over HTTP; 422 beyond it.
        job_memory_mb: Largest memory of all processes of a job, or of an export, over HTTP, in megabytes; it is killed beyond
            it. None is a quarter of the memory of the machine or container.
        job_seconds: Longest time that a job over HTTP may take, also when it goes on later; it is killed after it.
        export_seconds: Longest time that an export over HTTP may take; it is killed after it.
        allow_import_paths: Whether requests may name spaces, strategies, data sets and evaluators that hubserve itself does not
            have, by import path (`mypkg.spaces:Small`) or entry point: this runs their code. 422 for them if False.
        allowed_hosts: Names that the header Host of a request may have, separated by commas; "*.example.com" means all names
            below it, "*" any. Addresses, localhost and names below it are always allowed. None allows these alone on
            connections to a loopback address, and any name on others; 421 for another name.
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
    max_waiting_megapixels: Amount = 800.0
    max_images: Annotated[int, Field(ge=1)] = 32
    max_body_mb: Amount = 20.0
    max_header_kb: Amount = 32.0
    max_connections: Annotated[int, Field(ge=1)] = 1000
    max_pending_mb: Amount = 256.0
    max_megapixels: Amount = MAX_PIXELS / 1e6
    body_seconds: Amount = 30.0
    answer_seconds: Amount = 60.0
    resolve_seconds: Seconds = 0.5
    model_memory_mb: Amount = 4096.0
    load_seconds: Amount = 60.0
    drain_seconds: Seconds = 1.0
    max_exports: Annotated[int, Field(ge=1)] = 1
    max_search_jobs: Annotated[int, Field(ge=1)] = 2
    upload_mb: Amount = 1000.0
    upload_expanded_mb: Amount = 4000.0
    upload_files: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    upload_seconds: Amount = 900.0
    data_roots: tuple[Path, ...] | None = None
    job_workers: Annotated[int, Field(ge=1)] | None = None
    job_trials: Annotated[int, Field(ge=1)] = 10_000
    job_epochs: Annotated[int, Field(ge=1)] = 1_000
    job_modules: Annotated[int, Field(ge=1)] = 50_000
    job_memory_mb: Amount | None = None
    job_seconds: Amount = 86_400.0
    export_seconds: Amount = 3_600.0
    allow_import_paths: bool = False
    allowed_hosts: str | None = None
    token: Token | None = None
    read_token: Token | None = None
    tracing: bool = False
    access_log: bool = False

    @field_validator("data_roots", mode="before")
    @classmethod
    def _separated(cls, given: Any) -> Any:
        return [part for part in given.split(os.pathsep) if part] if isinstance(given, str) else given

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
