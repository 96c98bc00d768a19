"""Finds the fastest number of threads, cores per thread and batch size for a model on this machine, in about two seconds.

What wins depends on the network and on the processor's caches: batches save the overhead of calls, and cost locality; a
second core for one image saves time, and wastes some of that core. So every way is tried on the model that is to be served.
"""

from __future__ import annotations

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
"""By how much another way must be faster than the usual one: less is noise."""

Count = Annotated[int, Field(ge=1, le=1024)]


class Way(BaseModel):
    """A way to use the machine.

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


_Ways = TypeAdapter(dict[str, Way])


def usual_way(device: str = "cpu") -> Way:
    """What is nearly always near the best, for machines that were not measured. A GPU wants larger batches."""
    return Way(threads=cores()) if device == "cpu" else Way(threads=2, max_batch=32)


def ways_of(device: str) -> list[Way]:
    """What is worth trying, the usual way first."""
    if device != "cpu":
        return [Way(threads=2, max_batch=batch) for batch in (32, 8, 16, 64)]
    single = [Way(threads=cores(), max_batch=batch) for batch in BATCHES]
    paired = [Way(threads=cores() // 2, session_threads=2, max_batch=batch) for batch in BATCHES[1:]] if cores() > 1 else []
    return sorted([*single, *paired], key=lambda way: way != usual_way())


def best_way(key: str, load: Callable[[int], Engine], *, device: str = "cpu") -> Way:
    """The fastest way for a model: from the file of earlier measurements, or measured now and noted there.

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
            known = {**known, key: measure(load, ways_of(device))}
        except HubserveError as error:  # Whoever loads the model reports what is wrong with it.
            log.warning("not measured: %s", error)
            return usual_way(device)
        _write(known)
    log.info("%s: %s", key, known[key])
    return known[key]


def measure(load: Callable[[int], Engine], ways: Sequence[Way], *, seconds: float = BUDGET_SECONDS) -> Way:
    """The fastest of some ways; the first one unless another is clearly faster. They take turns.

    Args:
        load: session_threads -> engine.
        ways: The settings to try.
        seconds: Time for all of them, in two rounds; settings for which no time is left are not measured.
    """
    engines = {count: load(count) for count in dict.fromkeys(way.session_threads for way in ways)}
    photo = _photo()
    turn = seconds / len(ways) / 2
    end = time.perf_counter() + seconds
    speeds: dict[Way, float] = {}
    for _, way in itertools.product(range(2), ways):
        if not speeds or time.perf_counter() < end:
            speed = images_per_second(engines[way.session_threads], way, photo, seconds=turn)
            speeds[way] = max(speed, speeds.get(way, 0.0))
    fastest = max(speeds, key=speeds.__getitem__)
    chosen = fastest if speeds[fastest] > CLEARLY * speeds[ways[0]] else ways[0]
    return chosen.model_copy(update={"images_per_second": round(speeds[chosen], 1)})


def images_per_second(engine: Engine, way: Way, image: bytes, *, seconds: float) -> float:
    """Throughput of an engine with these settings, from bytes to answers. Runs at least one batch in each thread."""
    done = [0] * way.threads
    start = time.perf_counter()

    def work(place: int) -> None:
        while True:
            engine.answer([engine.prepare(image) for _ in range(way.max_batch)])
            done[place] += way.max_batch
            if time.perf_counter() - start >= seconds:
                return

    threads = [threading.Thread(target=work, args=(place,)) for place in range(way.threads)]
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


def _read() -> dict[str, Way]:
    try:
        return _Ways.validate_json(_path().read_bytes())
    except (OSError, ValidationError):
        return {}


def _write(ways: dict[str, Way]) -> None:
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _Ways.dump_json(ways, indent=2).decode() + "\n")
    except OSError as error:  # The next start measures again.
        log.warning("%s cannot be written: %s", path, error)
