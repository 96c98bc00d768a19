"""`package_space`: makes the model space of a package; one of a user's own is imported only where its author is trusted."""

import warnings
from pathlib import Path

from hubserve.code_source import CodeSource
from hubserve.errors import PackageError
from hubserve.find_named import import_folder
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.registry import get_space
from hubserve.module_files import locate_module
from hubserve.package import trust
from hubserve.package.file_hashes import hash_file
from hubserve.package.package import WEIGHTS, Package


def package_space(package: Package) -> HubSpace:
    """Returns the model space of a package, with its settings.

    The module of a space of the user's own is imported where this user wrote the package here with that module, or the author
    of the package is trusted. If its source was changed since, a warning says so.

    Raises:
        PackageError: The module is not found, or its author is not trusted.
        SpaceError: There is no such space or setting, the module cannot be imported, or the package has a space of the user's
            own and does not record where its code came from.
    """
    manifest, source = package.manifest, package.manifest.space_source
    if source is None:
        return get_space(manifest.space, manifest.settings, refused=f"{package.path} does not record where its code came from")
    file = _trusted_file(package, source)
    change = source.change(file)
    if change is not None:
        warnings.warn(
            f"the source of {source.import_path} was changed since {package.path} was written: {change}", stacklevel=2
        )
    return get_space(source.import_path, manifest.settings)


def source_change(package: Package) -> str | None:
    """Returns a phrase that says how the source of the package's own space was changed since the package was written.

    Returns None if it was not changed, for a space of the hub, and where the module is not found.
    """
    source = package.manifest.space_source
    file = None if source is None else locate_module(source.module)
    return None if source is None or file is None else source.change(file)


def record_own_space(package: Package) -> None:
    """Records that this user wrote a package here, so that `package_space` imports a space of the user's own for it.

    Nothing is recorded for a space of the hub, and where the module is not found.
    """
    source = package.manifest.space_source
    file = None if source is None else locate_module(source.module)
    if source is not None and file is not None:
        trust.record_written([_identity(package, source, file)])


def _trusted_file(package: Package, source: CodeSource) -> Path:
    """Returns the file of the module of a space. Raises PackageError if there is none, or it may not be imported."""
    file = locate_module(source.module)
    if file is None:
        owner = "" if source.distribution is None else f" It belongs to {source.distribution} {source.version}."
        raise PackageError(
            f"{package.path} is of the space {source.import_path}, and there is no module {source.module!r}, neither in "
            f"{import_folder()} nor among the installed ones.{owner} Work in the folder that holds it, or name that folder in "
            "PYTHONPATH; without it the exported formats of the package still run"
        )
    if not package.trusted and not trust.was_written_here(_identity(package, source, file)):
        raise PackageError(
            f"{package.path} was not written here by this user with {file}, and importing its space {source.import_path} runs "
            "that module; where you trust it, say so with --trust (read_package(..., trusted=True)); without it the exported "
            "format onnx of the package still runs"
        )
    return file


def _identity(package: Package, source: CodeSource, file: Path) -> str:
    return trust.own_code_hash(source, file, hash_file(package.path / WEIGHTS))
