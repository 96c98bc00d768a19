"""Records the exported files that this user wrote on this machine, so that they can be trusted when they are loaded.

Formats that may run code (TorchScript, `.pt2`) are loaded only if the file is recorded here or its author is trusted. ONNX
files that are not recorded are loaded by a separate process first; see `hubserve.package.first_load`.

The record is the folder HUBSERVE_HOME/written. It has an empty file for each exported file, named by the SHA-256 of its
content, so that copies are recognised, too.
"""

from collections.abc import Iterable
from contextlib import suppress

from hubserve.errors import OutputError
from hubserve.home import home

FOLDER = "written"


def record_written(hashes: Iterable[str]) -> None:
    """Records files, given by the SHA-256 of their content in hexadecimal, as written here by this user.

    If the record cannot be written, no error is raised, and the files do not count as written here.
    """
    with suppress(OSError, OutputError):
        folder = home() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for sha256 in hashes:
            (folder / sha256).touch()


def was_written_here(sha256: str) -> bool:
    """Returns whether a file whose content has this SHA-256 (in hexadecimal) was recorded as written here by this user."""
    with suppress(OutputError):
        return (home() / FOLDER / sha256).is_file()
    return False
