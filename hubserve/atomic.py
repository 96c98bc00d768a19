"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_whole(path: Path, content: str) -> None:
    """Replaces the file in one step: a reader, or a `kill -9` meanwhile, meets the old content or the new one.

    Raises:
        OSError: it cannot be written, or there is no such folder; the old file is as it was, and nothing lies beside it.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        part.write_text(content, "utf-8")
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
