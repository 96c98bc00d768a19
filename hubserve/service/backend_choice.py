"""`load_fastest`: loads a model with ONNX Runtime or with OpenVINO, whichever classifies more images a second on this machine.

Both run the ONNX file of the package in float32. Which one is faster depends on the network, on the processor, and on how many
threads work at once. Therefore both are measured with the threads and batches that the service uses, in turns, in about two
seconds. OpenVINO's logits are compared with those of ONNX Runtime before it is measured; see `Engine`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from hubserve.errors import HubserveError
from hubserve.host import cores, describe_host, installed_versions
from hubserve.package.onnx_runner import Device, cuda_available
from hubserve.service.concurrency_tuning import CLEARLY, Concurrency, images_per_second, photo
from hubserve.service.engine import Engine
from hubserve.service.kept_measurements import KeptMeasurements

log = logging.getLogger("hubserve.service")

Candidate = Literal["onnx", "openvino"]

SECONDS = 2.0
"""Seconds that measuring both backends takes."""

ROUNDS = 4
"""Number of times that each backend is measured, in turns; the best one counts."""


class BackendChoice(BaseModel):
    """The backend that was chosen for a model.

    Attributes:
        backend: "onnx" for ONNX Runtime, or "openvino".
        images_per_second: Measured throughput of each backend, by its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Candidate
    images_per_second: dict[Candidate, float]


_kept = KeptMeasurements("backends.json", TypeAdapter(dict[str, BackendChoice]))


def load_fastest(key: str, load: Callable[[Candidate], Engine], setting: Concurrency, *, device: Device = "cpu") -> Engine:
    """Returns an engine with the faster backend, by the file of earlier measurements, or measured now and written to it.

    The backend is ONNX Runtime if a GPU is used, if OpenVINO is not installed, or if loading with OpenVINO raises a
    HubserveError, for instance because its logits differ; that error is logged as a warning, and the choice is not kept.

    Args:
        key: Text that identifies the content of the model.
        load: Function that returns an engine with the given backend; it is called for one backend, or for both.
        setting: The threads and the batch size with which the service uses the engine.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.

    Raises:
        HubserveError: ONNX Runtime cannot load the model, one of the two engines cannot be run, or no folder can serve as
            HUBSERVE_HOME.
        OSError: A file of the model cannot be read.
    """
    if find_spec("openvino") is None or (device != "cpu" and cuda_available()):
        return load("onnx")
    versions = ", ".join(
        f"{name} {version}" for name, version in installed_versions("onnxruntime-gpu", "onnxruntime", "openvino").items()
    )
    key = (
        f"{key} on {describe_host().cpu}, {cores()} cores, {setting.threads} threads of {setting.session_threads}, "
        f"batches of {setting.max_batch}, {versions}"
    )
    choice = _kept.read().get(key)
    if choice is not None and choice.backend == "onnx":
        return load("onnx")
    try:
        openvino = load("openvino")
    except HubserveError as error:
        log.warning("onnx is used, because openvino cannot be: %s", error)
        return load("onnx")
    if choice is not None:
        return openvino
    onnx = load("onnx")
    choice = faster(onnx, openvino, setting)
    log.info("%s: %s", key, choice)
    _kept.add(key, choice)
    return openvino if choice.backend == "openvino" else onnx


def faster(onnx: Engine, openvino: Engine, setting: Concurrency, *, seconds: float = SECONDS) -> BackendChoice:
    """Warms up two engines with the same model, measures them in turns, and returns the backend of the faster one.

    OpenVINO is chosen only if it is more than `CLEARLY` times as fast.

    Args:
        onnx: Engine with ONNX Runtime.
        openvino: Engine with OpenVINO.
        setting: The threads and the batch size.
        seconds: Time in seconds for all measurements of both together. Warming up is not included, and a batch that has begun
            is finished.

    Raises:
        ExportError: An engine cannot be run.
        LateAnswerError: A batch took longer than the time limit of its engine.
    """
    engines: dict[Candidate, Engine] = {"onnx": onnx, "openvino": openvino}
    speeds: dict[Candidate, float] = dict.fromkeys(engines, 0.0)
    image = photo()
    for engine in engines.values():
        engine.warm_up((1, setting.max_batch))
    for _, (name, engine) in itertools.product(range(ROUNDS), engines.items()):
        speed = images_per_second(engine, setting, image, seconds=seconds / ROUNDS / len(engines))
        speeds[name] = max(speeds[name], round(speed, 1))
    backend: Candidate = "openvino" if speeds["openvino"] > CLEARLY * speeds["onnx"] else "onnx"
    return BackendChoice(backend=backend, images_per_second=speeds)
