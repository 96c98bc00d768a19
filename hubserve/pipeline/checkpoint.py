"""Checkpoints: small JSON files in a run folder, one for each phase, so that a killed run continues where it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hubserve.atomic import write_atomic
from hubserve.errors import JobError


def checkpoint(path: Path, compute: Callable[[], Any]) -> Any:
    """The content of a checkpoint; if there is none yet, `compute()`, which is written to it.

    Args:
        path: The JSON file; its folder is made if needed.
        compute: Returns plain data. It is called only if the file does not exist.

    Raises:
        JobError: The file is corrupt.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        content = compute()
    except (OSError, ValueError) as error:
        raise JobError(f"{path} is corrupt: {error}; delete it, and the job repeats that phase") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=2) + "\n")
    return content
