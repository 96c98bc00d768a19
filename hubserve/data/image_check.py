"""Checks one image file: whether the service could read it, its size in pixels, and its hash.

`python -m hubserve.data.image_check` is the worker process of `hubserve.data.check_pool`: it checks one file after another.
"""

import hashlib
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import ImageError
from hubserve.preprocess.image_facts import image_facts

HEADER_BYTES = 256 * 1024
"""Number of bytes that a header check reads first; the rest of the file is read only if they do not hold the header."""

SECONDS = 120
"""Seconds after which the operating system kills a worker process that is still checking one file."""


class Check(NamedTuple):
    """The result of checking one image file.

    Attributes:
        sha256: SHA-256 of the file's content in hexadecimal; None if the file was not hashed.
        width: Width in pixels after the image is turned upright; 0 if the image cannot be read.
        height: Height in pixels after the image is turned upright; 0 if the image cannot be read.
        kinds: Special properties of the image; the values are those of `hubserve.preprocess.image_facts.ImageFacts.kinds`.
        problem: Reason why the file cannot be used; None if it can be used.
        lasting: Whether the result depends only on the file's content and may therefore be cached.
    """

    sha256: str | None = None
    width: int = 0
    height: int = 0
    kinds: tuple[str, ...] = ()
    problem: str | None = None
    lasting: bool = True


def check_file(path: Path, *, full: bool) -> Check:
    """Checks whether an image file can be read, and returns its size in pixels, its hash and its problem, if it has one.

    An unreadable file raises no exception: the reason is in `Check.problem`.

    Args:
        path: The image file.
        full: If True, all pixels are decoded and the file is hashed; if False, only the header is read.
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
        # The advice at the end is for those who send an image to the service.
        return Check(sha256 if full else None, problem=re.split("[;:] send ", str(error))[0])
    except MemoryError:
        return Check(problem="takes more memory to decode than there is", lasting=False)
    return Check(sha256, facts.width, facts.height, facts.kinds)


def hash_file(path: Path) -> str | None:
    """Returns the SHA-256 of a file's content in hexadecimal, or None if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def main() -> None:
    """Reads one path per line from stdin, encoded in hexadecimal, and writes the `Check` of each file as a line of JSON.

    The first command-line argument is the mode: "full" decodes and hashes each file, any other value reads headers only.
    """
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
