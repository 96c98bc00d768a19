"""Small JSON files in a run folder that say which phase has ended with what; each appears whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hubserve.atomic import write_atomic
from hubserve.errors import JobError


def write_note(path: Path, content: Any) -> None:
    """Writes `content`, which is plain data, in one step; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=2) + "\n")


def read_note(path: Path) -> Any:
    """What is noted there; None where the phase has not ended yet. Raises JobError for a damaged note."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise JobError(f"{path} is damaged: {error}; delete it, and the job does that phase again") from error
