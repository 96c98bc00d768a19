"""Finds the folder in which hubserve keeps a user's files: downloads, runs of jobs, exports, measurements.

Environment:
    HUBSERVE_HOME: Path of that folder. If it is not set, ~/.cache/hubserve is used if it exists, and else the cache folder of
        the operating system for this user, which is ~/.cache/hubserve on Linux.
"""

import os
from pathlib import Path

from platformdirs import user_cache_path

from hubserve.errors import OutputError


def home() -> Path:
    """Returns the path of the folder, which need not exist yet. The environment is read at each call.

    Raises:
        OutputError: HUBSERVE_HOME is not set and the user has no home directory, or a part of the path is a file.
    """
    given = os.environ.get("HUBSERVE_HOME")
    if given:
        return _checked(Path(given))
    try:
        # Earlier versions used this folder on every operating system.
        earlier = Path.home() / ".cache" / "hubserve"
    except RuntimeError as error:
        raise OutputError("this user has no home directory: set HUBSERVE_HOME to a folder that can be written") from error
    return earlier if earlier.is_dir() else _checked(user_cache_path("hubserve", appauthor=False))


def _checked(folder: Path) -> Path:
    for path in (folder, *folder.absolute().parents):
        try:
            if path.is_dir():
                break
            if path.exists():
                raise OutputError(
                    f"HUBSERVE_HOME is {folder}, and {path} is not a folder: set it to a folder that can be written"
                )
        except PermissionError:
            break  # The error of a later write into the folder names the reason.
    return folder
