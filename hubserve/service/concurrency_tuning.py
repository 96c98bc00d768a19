"""Measures which number of threads, cores per thread and batch size is the fastest for a model on this machine.

It takes about two seconds. The limit of images that wait is the queue's, see hubserve.service.batch_queue.

What wins depends on the network and on the processor's caches: batches save the overhead of calls, and cost locality; a
second core for one image saves time, and wastes some of that core. So the candidates are tried on the model to serve.
"""

import io
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hubserve import home
from hubserve.atomic import write_atomic
from hubserve.errors import HubserveError
from hubserve.host import cores, describe_host
from hubserve.service.engine import Engine

log = logging.getLogger("hubserve.service")

FILE = "serving.json"
BATCHES = (1, 2, 4, 8)
BUDGET_SECONDS = 2.0
CLEARLY = 1.05
"""Factor by which another candidate must be faster than the default: less is noise."""

Count = Annotated[int, Field(ge=1, le=1024)]


class Concurrency(BaseModel):
    """How a model uses the cores of the machine.

    Attributes:
        threads: Number of threads that classify.
        session_threads: Number of cores that each of them uses for inference.
        max_batch: Largest number of images that each takes at once.
        images_per_second: Measured throughput; 0 where it was not measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: Count
    session_threads: Count = 1
    max_batch: Count = 4
    images_per_second: float = 0.0


_Concurrencies = TypeAdapter(dict[str, Concurrency])


def default_concurrency(device: str = "cpu") -> Concurrency:
    """The setting for machines that were not measured, nearly always close to the fastest. A GPU needs larger batches."""
    return Concurrency(threads=cores()) if device == "cpu" else Concurrency(threads=2, max_batch=32)


def candidate_concurrencies(device: str) -> list[Concurrency]:
    """Returns the settings that are measured on `device`, with the default setting first."""
    if device != "cpu":
        return [Concurrency(threads=2, max_batch=batch) for batch in (32, 8, 16, 64)]
    single = [Concurrency(threads=cores(), max_batch=batch) for batch in BATCHES]
    paired = (
        [Concurrency(threads=cores() // 2, session_threads=2, max_batch=batch) for batch in BATCHES[1:]] if cores() > 1 else []
    )
    return sorted([*single, *paired], key=lambda setting: setting != default_concurrency())


def fastest_concurrency(key: str, load: Callable[[int], Engine], *, device: str = "cpu") -> Concurrency:
    """The fastest setting for a model: from the file of earlier measurements, or measured now and added to it.

    Args:
        key: Hash of the model's content.
        load: session_threads -> engine.
        device: Device of the engines, "cpu" or "cuda".
    """
    host = describe_host()
    key = f"{key} on {host.cpu}, {cores()} cores, {device}"
    known = _read()
    if key not in known:
        try:
            known = {**known, key: measure(load, candidate_concurrencies(device))}
        except HubserveError as error:  # Whoever loads the model reports what is wrong with it.
            log.warning("not measured: %s", error)
            return default_concurrency(device)
        _write(known)
    log.info("%s: %s", key, known[key])
    return known[key]


def measure(load: Callable[[int], Engine], settings: Sequence[Concurrency], *, seconds: float = BUDGET_SECONDS) -> Concurrency:
    """The fastest of some settings; the first one unless another is clearly faster. They are measured in turns.

    Args:
        load: session_threads -> engine.
        settings: The settings to try.
        seconds: Time for all of them, in two rounds; settings for which no time is left are not measured.
    """
    engines = {count: load(count) for count in dict.fromkeys(setting.session_threads for setting in settings)}
    photo = _photo()
    turn = seconds / len(settings) / 2
    end = time.perf_counter() + seconds
    speeds: dict[Concurrency, float] = {}
    for _, setting in itertools.product(range(2), settings):
        if not speeds or time.perf_counter() < end:
            speed = images_per_second(engines[setting.session_threads], setting, photo, seconds=turn)
            speeds[setting] = max(speed, speeds.get(setting, 0.0))
    fastest = max(speeds, key=speeds.__getitem__)
    chosen = fastest if speeds[fastest] > CLEARLY * speeds[settings[0]] else settings[0]
    return chosen.model_copy(update={"images_per_second": round(speeds[chosen], 1)})


def images_per_second(engine: Engine, setting: Concurrency, image: bytes, *, seconds: float) -> float:
    """Throughput of an engine with these settings, from bytes to answers. Runs at least one batch in each thread."""
    done = [0] * setting.threads
    start = time.perf_counter()

    def work(place: int) -> None:
        while True:
            engine.answer([engine.prepare(image) for _ in range(setting.max_batch)])
            done[place] += setting.max_batch
            if time.perf_counter() - start >= seconds:
                return

    threads = [threading.Thread(target=work, args=(place,)) for place in range(setting.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def _photo() -> bytes:
    """A JPEG of a photo's size whose content takes about as long to decode."""
    coarse = np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _path() -> Path:
    return home.home() / FILE


def _read() -> dict[str, Concurrency]:
    try:
        return _Concurrencies.validate_json(_path().read_bytes())
    except (OSError, ValidationError):
        return {}


def _write(settings: dict[str, Concurrency]) -> None:
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _Concurrencies.dump_json(settings, indent=2).decode() + "\n")
    except OSError as error:  # The next start measures again.
        log.warning("%s cannot be written: %s", path, error)
