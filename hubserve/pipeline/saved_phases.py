"""`load_or_compute`: saves the result of each finished phase in the run folder, and loads it when a killed run is resumed.

The files of a search are zero_cost_filter.json, winner.json, front.json, retrained/scores.json, test.json and published.json; a
fine-tuning has fine_tuned/scores.json, test.json and published.json, and a search for a smaller network also latency.json,
start/scores.json and found.json. The phases that export and profile save no such file: their result is the package itself.
status.json, which holds the state of the run for its readers, is written by `hubserve.pipeline.status_writer`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hubserve.atomic import write_atomic
from hubserve.errors import JobError


def load_or_compute(path: Path, compute: Callable[[], Any]) -> Any:
    """Returns the saved result of a phase. If there is none, calls `compute`, saves what it returns and returns that.

    Errors of `compute` are passed on, and nothing is saved then.

    Args:
        path: The JSON file of the result. Its folder is created if it does not exist.
        compute: Returns the result as data that JSON can represent. It is called only if the file does not exist.

    Raises:
        JobError: The file exists but cannot be read as JSON.
        OSError: The file cannot be written; a `StorageError` if the disk is full, read-only or not accessible.
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
