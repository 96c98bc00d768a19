"""`fastest_concurrency`: measures which number of threads, cores per thread and batch size is the fastest for a model.

What is the fastest depends on the network and on the processor's caches. Batches save the overhead of calls, but their data may
not fit the caches. A second core for an image saves time, but is not fully used. Therefore some candidates are measured on the
model that is served, in about two seconds.
"""

import io
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hubserve.errors import HubserveError
from hubserve.host import cores, describe_host
from hubserve.service.engine import Engine
from hubserve.service.kept_measurements import KeptMeasurements

log = logging.getLogger("hubserve.service")

BATCHES = (1, 2, 4, 8)
"""Batch sizes that are measured on the CPU."""

BUDGET_SECONDS = 2.0
"""Seconds that measuring all candidates takes."""

CLEARLY = 1.05
"""Factor by which a candidate must be faster than the default to be chosen; smaller differences may be noise."""

Count = Annotated[int, Field(ge=1, le=1024)]

Clock = Callable[[], float]
"""Function that returns the time in seconds."""


class Concurrency(BaseModel):
    """How a model uses the cores of the machine.

    Attributes:
        threads: Number of threads that classify.
        session_threads: Number of cores that each thread uses for inference.
        max_batch: Largest number of images that each thread classifies at once.
        images_per_second: Measured throughput; 0 if it was not measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: Count
    session_threads: Count = 1
    max_batch: Count = 4
    images_per_second: float = 0.0


_kept = KeptMeasurements("serving.json", TypeAdapter(dict[str, Concurrency]))


def default_concurrency(device: str = "cpu") -> Concurrency:
    """Returns the setting for a model that was not measured.

    It is a thread for each core, or for a GPU two threads with large batches.

    Args:
        device: "cpu" or "cuda".
    """
    return Concurrency(threads=cores()) if device == "cpu" else Concurrency(threads=2, max_batch=32)


def candidate_concurrencies(device: str) -> list[Concurrency]:
    """Returns the settings that are measured on `device`, "cpu" or "cuda"; the default setting is the first one."""
    if device != "cpu":
        return [Concurrency(threads=2, max_batch=batch) for batch in (32, 8, 16, 64)]
    single = [Concurrency(threads=cores(), max_batch=batch) for batch in BATCHES]
    paired = (
        [Concurrency(threads=cores() // 2, session_threads=2, max_batch=batch) for batch in BATCHES[1:]] if cores() > 1 else []
    )
    return sorted([*single, *paired], key=lambda setting: setting != default_concurrency())


def fastest_concurrency(key: str, load: Callable[[int], Engine], *, device: str = "cpu") -> Concurrency:
    """Returns the fastest setting for a model, from the file of earlier measurements or measured now. Writes it to the file.

    If the model cannot be measured, the default setting is returned and a warning is logged.

    Args:
        key: Text that identifies the content of the model.
        load: Function that returns an engine with the given `session_threads`.
        device: Device of the engines, "cpu" or "cuda".

    Raises:
        OutputError: No folder can serve as HUBSERVE_HOME.
    """
    host = describe_host()
    key = f"{key} on {host.cpu}, {cores()} cores, {device}"
    found = _kept.read().get(key)
    if found is None:
        try:
            found = measure(load, candidate_concurrencies(device))
        except HubserveError as error:  # Whoever loads the model reports what is wrong with it.
            log.warning("not measured: %s", error)
            return default_concurrency(device)
        _kept.add(key, found)
    log.info("%s: %s", key, found)
    return found


def measure(
    load: Callable[[int], Engine],
    settings: Sequence[Concurrency],
    *,
    seconds: float = BUDGET_SECONDS,
    clock: Clock = time.perf_counter,
) -> Concurrency:
    """Measures some settings, in two rounds, and returns the fastest one with its `images_per_second`.

    The first setting is returned unless another one is more than `CLEARLY` times as fast.

    Args:
        load: Function that returns an engine with the given `session_threads`.
        settings: The settings, at least one.
        seconds: Time in seconds for all measurements together, loading left out. The first setting is always measured, others
            only while time is left. A batch that has begun is finished.
        clock: Function that returns the time in seconds.

    Raises:
        HubserveError: An engine cannot be loaded, or cannot run.
    """
    engines = {count: load(count) for count in dict.fromkeys(setting.session_threads for setting in settings)}
    image = photo()
    turn = seconds / len(settings) / 2
    end = clock() + seconds
    speeds: dict[Concurrency, float] = {}
    for _, setting in itertools.product(range(2), settings):
        if not speeds or clock() < end:
            speed = images_per_second(engines[setting.session_threads], setting, image, seconds=turn, clock=clock)
            speeds[setting] = max(speed, speeds.get(setting, 0.0))
    fastest = max(speeds, key=speeds.__getitem__)
    chosen = fastest if speeds[fastest] > CLEARLY * speeds[settings[0]] else settings[0]
    return chosen.model_copy(update={"images_per_second": round(speeds[chosen], 1)})


def images_per_second(
    engine: Engine, setting: Concurrency, image: bytes, *, seconds: float, clock: Clock = time.perf_counter
) -> float:
    """Returns the throughput of an engine with a setting, from the bytes of images to answers.

    Args:
        engine: The engine.
        setting: Number of threads and of images in a batch.
        image: Bytes of the image file that is classified again and again.
        seconds: Seconds after which each thread ends with its batch; it runs at least one.
        clock: Function that returns the time in seconds.

    Raises:
        Exception: What `engine` raised in one of the threads, after all have ended.
    """
    start = clock()

    def classify(_: int) -> int:
        done = 0
        while not done or clock() - start < seconds:
            engine.answer([engine.prepare(image) for _ in range(setting.max_batch)])
            done += setting.max_batch
        return done

    with ThreadPoolExecutor(setting.threads) as pool:
        done = sum(pool.map(classify, range(setting.threads)))
    return done / (clock() - start)


def photo() -> bytes:
    """Returns a JPEG of 500 x 375 pixels that takes about as long to decode as a photo."""
    coarse = np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
