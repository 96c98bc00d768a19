"""Checks one image file: whether it can be read as the service reads it, its size in pixels, and its hash.

`python -m hubserve.data.image_check` does so in a process of its own, file by file, for `hubserve.data.check_pool`.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import ImageError
from hubserve.preprocess.image_facts import image_facts

HEADER_BYTES = 256 * 1024
"""Number of bytes, from the beginning of a file, in which a header is looked for first."""

SECONDS = 120
"""Time after which the process of a check is killed by its own alarm: no image takes as long to decode."""


class Check(NamedTuple):
    """Result of the check of one file.

    Attributes:
        sha256: Hash of the file's content in hexadecimal; None where only its header was read, or it cannot be opened.
        width: Width of the image in pixels, turned upright; 0 where it cannot be read.
        height: Height of the image in pixels, turned upright; 0 where it cannot be read.
        kinds: What is special about the image, see `hubserve.preprocess.image_facts.ImageFacts`.
        problem: Why the file cannot be used; None where it can.
        lasting: Whether the result is that of the file's content, and so the same the next time.
    """

    sha256: str | None = None
    width: int = 0
    height: int = 0
    kinds: tuple[str, ...] = ()
    problem: str | None = None
    lasting: bool = True


def check_file(path: Path, *, full: bool) -> Check:
    """Reads an image file.

    Args:
        path: The file.
        full: Whether to decode all pixels and to hash the file; else its header alone is read.
    """
    try:
        with path.open("rb") as file:
            data = file.read() if full else file.read(HEADER_BYTES)
            if not data:
                return Check(problem="an empty file")
            sha256 = hashlib.sha256(data).hexdigest() if full else None
            try:
                facts = image_facts(data, decode=full)
            except ImageError:
                if full or len(data) < HEADER_BYTES:
                    raise
                facts = image_facts(data + file.read(), decode=False)
    except OSError as error:
        return Check(problem=f"cannot be opened: {error.strerror or error}", lasting=False)
    except ImageError as error:
        return Check(sha256 if full else None, problem=str(error))
    except MemoryError:
        return Check(problem="takes more memory to decode than there is", lasting=False)
    return Check(sha256, facts.width, facts.height, facts.kinds)


def hash_file(path: Path) -> str | None:
    """The SHA-256 of a file's content in hexadecimal; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def main() -> None:
    """Reads paths from stdin, one a line in hexadecimal, and writes the Check of each as a line of JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the input.
    full = sys.argv[1] == "full"
    for line in sys.stdin:
        signal.alarm(SECONDS)
        found = check_file(Path(os.fsdecode(bytes.fromhex(line.strip()))), full=full)
        signal.alarm(0)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
