"""Adds files, such as a latency report, to a package that exists."""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from hubserve.atomic import apply_umask, replace_folder, staged_folder
from hubserve.errors import PackageError
from hubserve.package.file_hashes import file_entry
from hubserve.package.formats import FORMATS
from hubserve.package.package import EXAMPLE, LABELS, MANIFEST, PARITY, PROFILE, WEIGHTS, Package, read_package


def add_profile(package: Package, text: str) -> Package:
    """The package with a latency report, as JSON, in it; see `add_files`."""
    return add_files(package, {PROFILE: text.encode()})


def add_files(package: Package, files: Mapping[str, bytes]) -> Package:
    """The package with further files in it, in one step: the folder is replaced by a rename.

    Args:
        package: A package outside the store, whose versions never change: publish a package that has the files.
        files: Content by file name; a file of that name that was added before is replaced.

    Raises:
        PackageError: A name of a file that every package has, or a name with a folder; or the folder cannot be replaced.
    """
    taken = {MANIFEST, WEIGHTS, LABELS, PARITY, EXAMPLE, *(entry.file for entry in FORMATS.values())}
    for name in files:
        if name in taken or PurePosixPath(name).name != name or name in ("", ".", ".."):
            raise PackageError(
                f"cannot add {name!r} to {package.path}: choose a plain name that is none of {', '.join(sorted(taken))}"
            )
    with staged_folder(package.path.parent, package.path.name) as stage:
        for name in package.manifest.files:
            shutil.copy2(package.path / name, stage / name)
        for name, content in files.items():
            (stage / name).write_bytes(content)
        entries = package.manifest.files | {name: file_entry(stage / name) for name in files}
        manifest = package.manifest.model_copy(update={"files": dict(sorted(entries.items()))})
        (stage / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        apply_umask(stage)
        check_target(package.path, overwrite=True)  # Copying takes a while, in which others may write.
        replace_folder(stage, package.path)
    return read_package(package.path, trusted=package.trusted)


def check_target(folder: Path, overwrite: bool) -> None:
    """Raises PackageError where a package may not be put at `folder`."""
    if not folder.exists():
        return
    if not overwrite:
        raise PackageError(f"{folder} exists; choose another folder or replace it with overwrite=True / --overwrite")
    if not (folder / MANIFEST).is_file():
        raise PackageError(f"{folder} exists and is not a package, so it is not replaced; choose another folder")
