"""The work without HTTP: decodes, prepares and infers in threads, as told by lines of JSON, one line for each slice of time."""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path

from hubserve.package.package import read_package
from hubserve.service.engine import Engine


def measure(engine: Engine, bodies: list[bytes], threads: int, batch: float, seconds: float) -> dict[str, float]:
    """Answers images for some seconds.

    Args:
        engine: The engine.
        bodies: Images that are answered in turn.
        threads: Number of threads.
        batch: Mean number of images in a batch: the sizes are the whole numbers below and above it.
        seconds: Time after which each thread ends, once its batch is done.

    Returns:
        "images": number of images; "cpu": CPU time of this process in seconds; "wall": elapsed time in seconds.
    """
    done = [0] * threads

    def work(place: int) -> None:
        for turn in itertools.count(1):
            size = max(1, int(turn * batch) - int((turn - 1) * batch))
            engine.answer([engine.prepare(bodies[(done[place] + i) % len(bodies)]) for i in range(size)])
            done[place] += size
            if time.perf_counter() - start >= seconds:
                return

    start, cpu = time.perf_counter(), time.process_time()
    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"images": sum(done), "cpu": time.process_time() - cpu, "wall": time.perf_counter() - start}


def main(images: Path, session_threads: int) -> None:
    """Reads the images and then lines of JSON with the other arguments of `measure`, and prints a line for each."""
    engine = Engine(read_package(Path(os.environ["BENCH_PACKAGE"])), device="cpu", threads=session_threads)
    bodies = [path.read_bytes() for path in sorted(images.iterdir())]
    for line in sys.stdin:
        print(json.dumps(measure(engine, bodies, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
