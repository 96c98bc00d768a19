"""Records the exported files that this user wrote on this machine, so that they can be trusted when they are loaded.

Formats that may run code (TorchScript, `.pt2`), and those of phones, whose runtimes do not check a file that was made to do
harm, are loaded only if the file is recorded here or its author is trusted. ONNX files that are not recorded are loaded by a
separate process first; see `hubserve.package.first_load`.

A package may also name a model space of the user's own, in a Python module. The module is imported under the same conditions.

The record is the folder HUBSERVE_HOME/written. It has an empty file for each exported file, named by the SHA-256 of its
content, so that copies are recognised, too.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hubserve.code_source import CodeSource
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
    with suppress(OSError, OutputError):
        return (home() / FOLDER / sha256).is_file()
    return False


def own_code_hash(source: CodeSource, file: Path, weights_sha256: str) -> str:
    """Returns the hash by which `record_written` records that this user wrote a package that names code of their own.

    It depends on the place of the module, so that a package in a folder with a module of the same name imports nothing, and on
    the recorded sources of the modules that it imports.

    Args:
        source: What the manifest says about the code.
        file: File from which its module is imported.
        weights_sha256: SHA-256 of the weights of the package.
    """
    others = (f"{name} {sha256}" for name, sha256 in source.modules.items())
    text = "\n".join((source.import_path, source.sha256, str(file.resolve()), weights_sha256, *others))
    return hashlib.sha256(text.encode()).hexdigest()
