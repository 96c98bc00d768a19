"""Records which exported files this user wrote here. Those that are programs are loaded only where they are among these.

The code of a user's own space, which a package names, is imported only where this user wrote the package here, too.

Files in ONNX that are not are loaded by another process first, see `hubserve.package.first_load`.

`HUBSERVE_HOME/written/` has an empty file for each, named by the hash of its content, so copies are recognised, too.
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


def own_code_hash(source: CodeSource, file: Path, weights_sha256: str) -> str:
    """Returns the hash by which `record_written` records that this user wrote a package that names code of their own.

    It depends on the place of the module, so that a package in a folder with a module of the same name imports nothing.

    Args:
        source: What the manifest says about the code.
        file: File from which its module is imported.
        weights_sha256: SHA-256 of the weights of the package.
    """
    text = "\n".join((source.import_path, source.sha256, str(file.resolve()), weights_sha256))
    return hashlib.sha256(text.encode()).hexdigest()
