"""Adds files, such as a latency report, to a package that exists."""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from hubserve.atomic import apply_umask, replace_folder, staged_folder
from hubserve.errors import PackageError
from hubserve.package.file_hashes import file_entry
from hubserve.package.formats import FORMATS
from hubserve.package.package import EXAMPLE, LABELS, MANIFEST, PARITY, PROFILE, WEIGHTS, Package, read_package
from hubserve.package.text_tokenizer import TOKENIZER


def add_profile(package: Package, text: str) -> Package:
    """Adds a latency report to a package as profile.json, or replaces the one in it, and returns the new package.

    Args:
        package: A package outside the model store.
        text: The report as JSON; its content is not checked.

    Raises:
        PackageError: The folder of the package is no longer a package.
        OSError: A file cannot be read or written, or the folder cannot be replaced.
    """
    return add_files(package, {PROFILE: text.encode()})


def add_files(package: Package, files: Mapping[str, bytes]) -> Package:
    """Adds files to a package, or replaces those of the same names, and returns the new package.

    The new content is written to another folder, which then replaces the package by a rename, so readers see the old or the new
    package. Packages in the model store must not change: publish a package that has the files instead.

    Args:
        package: A package outside the model store.
        files: Content of each file, by file name.

    Raises:
        PackageError: A file name contains a folder or belongs to the package itself (such as manifest.json or model.onnx), or
            the folder of the package is no longer a package.
        OSError: A file cannot be read or written, or the folder cannot be replaced; the package is unchanged then.
    """
    exported = {file for entry in FORMATS.values() for file in entry.files}
    taken = {MANIFEST, WEIGHTS, LABELS, TOKENIZER, PARITY, EXAMPLE} | exported
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
    """Checks that a package may be written to `folder`: nothing is there, or a package that may be replaced.

    Args:
        folder: Folder to which a package will be written.
        overwrite: Whether a package that is there may be replaced.

    Raises:
        PackageError: `folder` exists and `overwrite` is False, or `folder` exists and has no manifest.json.
    """
    if not folder.exists():
        return
    if not overwrite:
        raise PackageError(f"{folder} exists; choose another folder or replace it with overwrite=True / --overwrite")
    if not (folder / MANIFEST).is_file():
        raise PackageError(f"{folder} exists and is not a package, so it is not replaced; choose another folder")
