"""`checkpoint`: stores the result of a phase as a JSON file in the run folder, so that a killed run can be resumed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hubserve.atomic import write_atomic
from hubserve.errors import JobError


def checkpoint(path: Path, compute: Callable[[], Any]) -> Any:
    """Returns the content of a checkpoint file; if the file does not exist, calls `compute` and writes its result first.

    Args:
        path: The JSON file; its folder is created if it does not exist.
        compute: Returns the result as data that JSON can represent. It is called only if the file does not exist.

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
