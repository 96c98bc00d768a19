"""Adds files to a package that exists, and puts a package folder in place in one step."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from hubserve.errors import PackageError
from hubserve.package.formats import FORMATS
from hubserve.package.package import (
    EXAMPLE,
    LABELS,
    MANIFEST,
    PARITY,
    PROFILE,
    WEIGHTS,
    Package,
    file_entry,
    read_package,
)


def add_profile(package: Package, text: str) -> Package:
    """The package with a latency report, as JSON, in it; see `add_files`."""
    return add_files(package, {PROFILE: text.encode()})


def add_files(package: Package, files: Mapping[str, bytes]) -> Package:
    """The package with further files in it, put in place in one step; the folder is never seen half changed.

    Args:
        package: a folder of one's own. One in the store never changes: publish a package that has the files.
        files: name -> content; one of that name that was added before is replaced.

    Raises:
        PackageError: a name that is taken by what makes it a package, or is no plain name; or the folder cannot be replaced.
    """
    taken = {MANIFEST, WEIGHTS, LABELS, PARITY, EXAMPLE, *(form.file for form in FORMATS.values())}
    for name in files:
        if name in taken or PurePosixPath(name).name != name or name in ("", ".", ".."):
            raise PackageError(
                f"cannot add {name!r} to {package.path}: choose a plain name that is none of {', '.join(sorted(taken))}"
            )
    with staged(package.path) as stage:
        for name in package.manifest.files:
            shutil.copy2(package.path / name, stage / name)
        for name, content in files.items():
            (stage / name).write_bytes(content)
        entries = package.manifest.files | {name: file_entry(stage / name) for name in files}
        manifest = package.manifest.model_copy(update={"files": dict(sorted(entries.items()))})
        (stage / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        put_in_place(stage, package.path, overwrite=True)
    return read_package(package.path, trusted=package.trusted)


def check_target(folder: Path, overwrite: bool) -> None:
    """Raises PackageError where a package may not be put at `folder`."""
    if not folder.exists():
        return
    if not overwrite:
        raise PackageError(f"{folder} exists; choose another folder or replace it with overwrite=True / --overwrite")
    if not (folder / MANIFEST).is_file():
        raise PackageError(f"{folder} exists and is not a package, so it is not replaced; choose another folder")


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the target, gone afterwards whatever happens."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        stage.chmod(0o755)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def put_in_place(stage: Path, folder: Path, overwrite: bool) -> None:
    """Renames; what was there is put back if that fails. Looks again: an export takes seconds, in which others may write."""
    check_target(folder, overwrite)
    if not folder.exists():
        os.rename(stage, folder)
        return
    old = stage.with_name(stage.name + ".old")
    os.rename(folder, old)
    try:
        os.rename(stage, folder)
    except OSError:
        os.rename(old, folder)
        raise
    shutil.rmtree(old)
