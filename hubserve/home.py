"""The folder of all that hubserve keeps for a user: downloads, runs of jobs, exports, measurements.

Environment:
    HUBSERVE_HOME: That folder. Unless set, it is the user's cache folder for hubserve: ~/.cache/hubserve on Linux.
"""

import os
from pathlib import Path

from platformdirs import user_cache_path

from hubserve.errors import OutputError


def home() -> Path:
    """The folder, which need not exist yet; the environment is read at each call.

    Raises:
        OutputError: HUBSERVE_HOME is not set, and the user has no home directory; or a file lies where a folder should.
    """
    given = os.environ.get("HUBSERVE_HOME")
    if given:
        return _checked(Path(given))
    try:
        # Where earlier versions put it on every system.
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
            break  # Whoever writes there gets the reason.
    return folder
