"""Program that counts the parameters and multiply-accumulates of packages, and draws their archs.

python -m hubserve.workers.describe_package FOLDER PACKAGE...

The results for each PACKAGE are written into FOLDER, as described at `main`.
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
from hubserve.hub.package_space import package_space
from hubserve.package.package import MANIFEST, read_package
from hubserve.process_guard import confine_memory
from hubserve.usable_resources import available_memory_bytes

SECONDS = 120
"""Seconds after which the process ends, even if the one that started it has ended and cannot stop it."""

MOST_MEMORY_MB = 8000.0
"""Largest memory of the process, in megabytes."""

MEMORY_SHARE = 0.5
"""Largest memory of the process, as a share of the memory that is available at its start; the smaller limit applies."""


def main(folder: Path, packages: list[Path]) -> None:
    """Describes each package by two files in `folder`: NAME.json with its numbers, and NAME.svg with a drawing of its arch.

    NAME is the first 24 digits of the SHA-256 of the manifest. The JSON object has "params" and "macs" (multiply-accumulates of
    one image, or of the inputs by which the space counts costs). If the arch cannot be drawn, it also has "problem", a
    sentence, and there is no NAME.svg; if the package cannot be read or counted, it has "problem" alone. A package without a
    readable manifest has neither file. The packages after it are described all the same.

    Args:
        folder: Folder to write into; it is created if it does not exist.
        packages: Package folders.
    """
    # The lowest priority, so that requests to the service are not slowed down.
    os.nice(19)
    folder.mkdir(parents=True, exist_ok=True)
    for path in packages:
        try:
            name = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()[:24]
        except OSError as error:  # Without it there is no name for its files.
            print(f"{path} is not described: {error}", file=sys.stderr)
            continue
        try:
            numbers = _numbers(path, folder / f"{name}.svg")
        except Exception as error:  # A package may be corrupt, or its space may not be one of the hub.
            numbers = {"problem": f"{type(error).__name__}: {error}"}
        write_atomic(folder / f"{name}.json", json.dumps(numbers))


def _numbers(path: Path, drawing: Path) -> dict[str, Any]:
    package = read_package(path)
    manifest, space = package.manifest, package_space(package)
    size = manifest.image_preprocess.input_size if manifest.classifies_images else None
    work = complexity(space.freeze(manifest.arch), (3, size, size) if size else space.cost_inputs())
    found: dict[str, Any] = {"params": work.params, "macs": work.macs}
    try:
        # Imported here, so that without the extra `plots` the numbers are still returned.
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
