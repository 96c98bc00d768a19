"""`check_file_names`: checks the names of the files that a manifest lists."""

from pathlib import PurePosixPath

from hubserve.errors import PackageError
from hubserve.package.manifest import Manifest

LONGEST_NAME = 255
"""Length in bytes of the longest file name that file systems allow."""


def check_file_names(manifest: Manifest, where: str, *, reserved: str) -> None:
    """Checks that all file names in a manifest are plain: without a folder, not too long, and not `reserved`.

    Args:
        manifest: The manifest.
        where: Path or address of the manifest, for the error message.
        reserved: Name of the file of the manifest itself, which it does not list.

    Raises:
        PackageError: A name is not plain.
    """
    for name in manifest.files:
        plain = PurePosixPath(name).name == name and "\0" not in name and name not in ("", ".", "..", reserved)
        if not plain or len(name.encode(errors="surrogatepass")) > LONGEST_NAME:
            raise PackageError(f"{where} lists {name!r}: files lie in the package's own folder, by plain names")
