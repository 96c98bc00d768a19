"""The folder of all that hubserve keeps for a user: downloads and the runs of search jobs.

Environment:
    HUBSERVE_HOME: that folder; ~/.cache/hubserve unless set.
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder, which need not exist yet; asked of the environment anew each time."""
    return Path(os.environ.get("HUBSERVE_HOME") or Path.home() / ".cache" / "hubserve")
