"""Records which exported files this user wrote here. Those that are programs are loaded only where they are among these.

Files in ONNX that are not are loaded by another process first, see `hubserve.package.first_load`.

`HUBSERVE_HOME/written/` has an empty file for each, named by the hash of its content, so copies are recognised, too.
"""

from collections.abc import Iterable
from contextlib import suppress

from hubserve.errors import OutputError
from hubserve.home import home

FOLDER = "written"


def record_written(hashes: Iterable[str]) -> None:
    """Records files by the SHA-256 of their content. Where the record cannot be written they count as written elsewhere."""
    with suppress(OSError, OutputError):
        folder = home() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for sha256 in hashes:
            (folder / sha256).touch()


def was_written_here(sha256: str) -> bool:
    """Whether a file with this SHA-256 was written here by this user."""
    with suppress(OutputError):
        return (home() / FOLDER / sha256).is_file()
    return False
