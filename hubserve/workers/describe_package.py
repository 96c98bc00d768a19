"""Counts and draws packages, in a process of its own.

python -m hubserve.workers.describe_package FOLDER PACKAGE...
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from hubserve.atomic import write_atomic
from hubserve.complexity import complexity
from hubserve.errors import HubserveError
from hubserve.hub.registry import get_space
from hubserve.package.package import MANIFEST, read_package
from hubserve.process_guard import confine_memory
from hubserve.usable_resources import available_memory_bytes

SECONDS = 120
"""Seconds after which the process ends, whether or not the one that started it is there."""

MOST_MEMORY_MB = 8000.0
"""Most memory that counting and drawing may take, in megabytes."""

MEMORY_SHARE = 0.5
"""Largest share of the memory that is available."""


def main(folder: Path, packages: list[Path]) -> None:
    """Writes <hash of the manifest>.json and .svg for each package; a failure is described in the former."""
    # Requests to the service come first.
    os.nice(19)
    folder.mkdir(parents=True, exist_ok=True)
    for path in packages:
        name = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()[:24]
        try:
            numbers = _numbers(path, folder / f"{name}.svg")
        except Exception as error:  # A package may name a space that is not ours, or be corrupt.
            numbers = {"problem": f"{type(error).__name__}: {error}"}
        write_atomic(folder / f"{name}.json", json.dumps(numbers))


def _numbers(path: Path, drawing: Path) -> dict[str, Any]:
    manifest = read_package(path).manifest
    space = get_space(manifest.space, manifest.settings)
    size = manifest.preprocess.input_size
    work = complexity(space.freeze(manifest.arch), (3, size, size))
    found: dict[str, Any] = {"params": work.params, "macs": work.macs}
    try:
        # Imported here: without the extra that draws, the numbers are there all the same.
        from hubserve.drawing import draw

        draw(space, manifest.arch, drawing, title=manifest.name)
    except HubserveError as error:
        found["problem"] = f"it cannot be drawn: {error}"
    return found


if __name__ == "__main__":
    # A manifest may describe a network of any size.
    signal.alarm(SECONDS)
    confine_memory(0, min(MOST_MEMORY_MB, MEMORY_SHARE * available_memory_bytes() / 1e6))
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
