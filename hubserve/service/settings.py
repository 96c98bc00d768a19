"""`ServiceSettings`: the settings of the service, which are read from environment variables at start-up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from hubserve.preprocess import MAX_PIXELS

PREFIX = "HUBSERVE_"
"""Start of the name of each environment variable."""

WEB_RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Names of the files of ONNX Runtime for browsers that `ServiceSettings.web_runtime` must have."""

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Token = Annotated[SecretStr, Field(min_length=8)]


class ServiceSettings(BaseModel):
    """The settings of the service. HUBSERVE_ and the name in capitals is the environment variable, for example HUBSERVE_MODEL.

    A request that exceeds a limit is refused with the HTTP status that is named with the limit. Megabytes are 10^6 bytes.

    Attributes:
        model: Name, tag or alias of the model that answers requests that name none. None takes the alias `production`, or the
            newest version in the store if there is no such alias.
        backend: What runs the models: the format "onnx", "onnx-fp16" or "onnx-int8" of their packages, or "openvino".
            "onnxruntime" is another name for "onnx". "auto" measures each image classifier with ONNX Runtime and with OpenVINO
            when it is loaded, and takes the faster one. "openvino" and "auto" run other models in "onnx".
        device: "cpu", "cuda", or "auto" for a GPU if there is one and else the CPU.
        threads: Number of threads that classify; None measures at start-up which number is the fastest.
        session_threads: Number of cores that each thread uses for inference; None measures at start-up which number is the
            fastest.
        max_batch: Largest number of images that a thread classifies at once; None measures at start-up which number is the
            fastest.
        max_waiting: Largest number of images that wait or are being classified; 503 beyond it.
        max_waiting_megapixels: Largest number of pixels, in millions, of the images that wait or are being classified; 503
            beyond it. A request of more than 16 megapixels may take at most half of what is free of this and of `max_waiting`,
            unless no other image waits.
        max_images: Largest number of images, texts or rows of tensors in one request; 400 beyond it.
        max_body_mb: Largest size of the body of a request with images, texts or tensors, and of an answer, in megabytes; 413
            beyond it. The body of any other request, except an uploaded ZIP file, may have at most 0.1 megabytes.
        max_header_kb: Largest size of the request line and the headers of a request, in kilobytes (10^3 bytes); 431 beyond it.
            More than 100 headers are also refused with 431.
        max_connections: Largest number of open connections of a process; half of the number of files that it may open, if that
            is less. Beyond it, the connection that has waited longest for its client is closed.
        max_pending_mb: Largest size of the bodies of all requests that are held at once, in megabytes; 503 beyond it.
        max_megapixels: Largest number of pixels of an image, in millions; 413 beyond it.
        require_jpeg_end: If True, a JPEG that has all its pixels but no end marker is refused with 415. The same environment
            variable has this effect in training, in evaluation and in the program of a package; the decoder reads it.
        body_seconds: Seconds within which the headers of a request must be received, and again within which its body must be;
            408 after that. A client that reads nothing of its answer for as long is disconnected.
        answer_seconds: Seconds after the body was received within which the images must be classified; 503 after that.
        resolve_seconds: Seconds between two checks of the store for new versions.
        model_memory_mb: Largest memory of all loaded models, in megabytes. Beyond it, the models whose names were not requested
            for the longest time are unloaded.
        load_seconds: Seconds within which a version that was never loaded on this machine must be loaded and run, in another
            process. That process may use at most `model_memory_mb`, and at most 75 % of the available memory. A version that
            exceeds a limit is never served.
        drain_seconds: Seconds after SIGTERM during which the server still accepts requests and asks clients to open new
            connections.
        max_exports: Largest number of exports that run at once; 503 beyond it.
        max_search_jobs: Largest number of running jobs, searches and fine-tunings, however they were started. If as many run, a
            request to start another one is refused with 503.
        upload_mb: Largest size of a ZIP file of images that is uploaded, in megabytes; 413 beyond it.
        upload_expanded_mb: Largest size of the unpacked files of an uploaded ZIP file together, in megabytes; 413 beyond it.
        upload_total_mb: Largest size of all uploads together, unpacked, in megabytes; 507 beyond it.
        upload_files: Largest number of files in an uploaded ZIP file; 413 beyond it.
        upload_seconds: Seconds within which an uploaded ZIP file must be received; 408 after that.
        data_roots: Folders, separated by colons, in which the data sets and latency tables of job definitions over HTTP must
            lie; 422 for other paths. Relative paths start in the first one. None takes the folder `data` in HUBSERVE_HOME.
        job_workers: Largest number of processes that evaluate trials or read images, in a job definition over HTTP; 422 beyond
            it. None takes the number of cores.
        job_trials: Largest number of trials in a job definition over HTTP; 422 beyond it. A search that sets no number ends
            after this many.
        job_epochs: Largest number of epochs of a training in a job definition over HTTP; 422 beyond it.
        job_modules: Largest number of torch modules of the networks of a job or an export over HTTP; 422 beyond it.
        job_memory_mb: Memory, in megabytes, of all processes of a job or an export over HTTP together, above which it is
            killed. None takes a quarter of the memory of the machine or container.
        job_seconds: Seconds after which a job over HTTP is killed; if it is stopped and resumed, the times add up.
        export_seconds: Seconds after which an export over HTTP is killed.
        allow_import_paths: If True, requests may name spaces, strategies, data sets and evaluators outside of hubserve, by
            import path (`mypkg.spaces:Small`) or entry point. The server then runs their code. If False, 422 for them.
        allowed_hosts: Names that the header Host of a request may have, separated by commas; 421 for other names.
            "*.example.com" means all names below example.com, "*" all names. IP addresses, localhost and names below it are
            always allowed. None allows only these on connections to a loopback address, and all names on others.
        token: Token, of at least 8 characters, that a request must have to change something; None refuses all changes.
        read_token: Token, of at least 8 characters, that a request must have to read or classify; None requires none.
        prediction_log: Folder in which what was predicted is written into files that rotate; None writes nothing.
        prediction_log_mb: Size of a file of predictions after which the next one is begun, in megabytes.
        prediction_log_files: Number of files of predictions that are kept of each process.
        prediction_log_images: If True, the lines of predictions have the image files, in base64.
        grpc_port: Port at which the Open Inference Protocol is answered over gRPC; None opens none. It needs the extra `grpc`.
        grpc_host: Numeric address at which `grpc_port` is opened.
        web_runtime: Folder with the files `WEB_RUNTIME_FILES` of onnxruntime-web, which `./scripts/setup web` fills. The page
            then offers to run a model in the visitor's browser, which downloads the model's ONNX file. None does not offer it.
        web_model_mb: Largest size of an ONNX file that the page offers to run in the browser, in megabytes.
        tracing: Share of the requests that are traced by OpenTelemetry, 0 to 1; "true" means all. A request whose `traceparent`
            has a decision is traced, or not, as it says, unless this is 0. Spans are sent by OTLP to the address in
            OTEL_EXPORTER_OTLP_ENDPOINT.
        log: "text" or "json", the format of the lines of the log. In JSON, they have the id of their request.
        access_log: If True, a line is logged for each request. None means True if `log` is "json".
    """

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    backend: Literal["onnx", "onnx-fp16", "onnx-int8", "openvino", "auto"] = "onnx"
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
    require_jpeg_end: bool = False
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
    upload_total_mb: Amount = 40_000.0
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
    prediction_log: Path | None = None
    prediction_log_mb: Amount = 100.0
    prediction_log_files: Annotated[int, Field(ge=2, le=1_000)] = 10
    prediction_log_images: bool = False
    grpc_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    grpc_host: str = "127.0.0.1"
    web_runtime: Path | None = None
    web_model_mb: Amount = 50.0
    tracing: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    log: Literal["text", "json"] = "text"
    access_log: bool | None = None

    @field_validator("tracing", mode="before")
    @classmethod
    def _share(cls, given: Any) -> Any:
        """Returns 1 for "true", "yes" and "on", 0 for "false", "no" and "off"; anything else is returned unchanged."""
        words = {"true": 1.0, "yes": 1.0, "on": 1.0, "false": 0.0, "no": 0.0, "off": 0.0}
        return words.get(given.strip().lower(), given) if isinstance(given, str) else given

    @field_validator("backend", mode="before")
    @classmethod
    def _format(cls, given: Any) -> Any:
        """Returns "onnx" for "onnxruntime"; anything else is returned unchanged."""
        return "onnx" if given == "onnxruntime" else given

    @property
    def first_backend(self) -> Literal["onnx", "onnx-fp16", "onnx-int8", "openvino"]:
        """The backend with which a model is loaded first; for "auto" that is "onnx"."""
        return "onnx" if self.backend == "auto" else self.backend

    @property
    def logs_requests(self) -> bool:
        """True if a line is logged for each request."""
        return self.log == "json" if self.access_log is None else self.access_log

    @field_validator("web_runtime")
    @classmethod
    def _has_runtime(cls, given: Path | None) -> Path | None:
        """Checks that the folder has the files of ONNX Runtime. Raises ValueError if one is missing."""
        missing = [name for name in WEB_RUNTIME_FILES if given is not None and not (given / name).is_file()]
        if missing:
            raise ValueError(f"the folder has no {', '.join(missing)}: `./scripts/setup web` puts them there")
        return given

    @field_validator("data_roots", mode="before")
    @classmethod
    def _separated(cls, given: Any) -> Any:
        """Returns the paths in a string that separates them by colons; anything but a string is returned unchanged."""
        return [part for part in given.split(os.pathsep) if part] if isinstance(given, str) else given

    @classmethod
    def from_environment(cls) -> ServiceSettings:
        """Returns the settings in the environment of this process. An empty variable counts as not set.

        Raises:
            pydantic.ValidationError: A value is not allowed; `sentence` turns the error into a message.
        """
        given = {name: os.environ.get(PREFIX + name.upper()) for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in given.items() if value})


def sentence(error: ValidationError) -> str:
    """Returns a one-line message for an error of `from_environment`, without the values, which may be secret."""
    found = (
        f"{PREFIX}{'_'.join(map(str, one['loc'])).upper()}: {one['msg'][0].lower()}{one['msg'][1:]}" for one in error.errors()
    )
    return "; ".join(found)
