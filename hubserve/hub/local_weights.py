"""Finds files of weights that a person put on this machine: in a path of a card, downloaded by hand, or in a given folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from hubserve.cards.card import WeightSource
from hubserve.errors import ChecksumError, WeightsError, WeightsUnavailableError
from hubserve.home import home
from hubserve.hub.download import check_sha256

MOST_NAMES = 5
"""Number of files of a folder that an error message names."""


def find_path(source: WeightSource) -> Path:
    """Returns the path of the file that a card's source `path` means: the file itself, or `filename` in the folder.

    Raises:
        WeightsUnavailableError: There is no such file, or `path` is a folder and the card names no file in it.
    """
    path = Path(source.path or "").expanduser()
    if source.filename is not None:
        found = path / source.filename
        if not found.is_file():
            raise WeightsUnavailableError(f"there is no file {source.filename} in {path}: {_content(path)}")
        return found
    if path.is_dir():
        raise WeightsUnavailableError(f"{path} is a folder, and the card does not say with `filename` which file in it")
    if not path.is_file():
        raise WeightsUnavailableError(f"there is no file {path}")
    return path


def place_by_hand(source: WeightSource) -> Path:
    """Returns the path on this machine at which a file that can only be downloaded by hand is looked for."""
    folder = hashlib.sha256(f"{source.page} {source.filename}".encode()).hexdigest()[:16]
    return home() / "weights" / folder / source.file_name


def how_by_hand(source: WeightSource) -> str:
    """Returns the sentence on how a person downloads the file of a source of the kind `page`, and where to put it."""
    return (
        f"no program can download it: open {source.page} in a browser, download {source.filename}, and give it with "
        f"--weights FILE --key-format {source.key_format}, or save it as {place_by_hand(source)}, where it is found"
    )


def find_in_folder(sources: Sequence[WeightSource], folder: Path, *, what: str) -> tuple[Path, WeightSource]:
    """Returns the file in `folder` that has the name of the file of one of the sources, and that source.

    Args:
        sources: Sources of the weights; the first one whose file is in the folder is returned.
        folder: The folder. A file is looked for under its path in the source's repository or package, under the last part of
            that, and, if the source is an archive, under its path in the archive.
        what: Name of the model, for the error message.

    Raises:
        WeightsUnavailableError: None of the files is in the folder.
        ChecksumError: The file is not the one of the source, by SHA-256, git id or size.
    """
    for source in sources:
        for name in dict.fromkeys((source.filename or source.file_name, source.file_name)):
            path = folder / name
            if name and path.is_file():
                try:
                    check_given_pins(path, source)
                except ChecksumError as error:
                    raise ChecksumError(f"{path}: {error}; give the file in place of its folder to use it as it is") from error
                return path, source
        if source.member is not None and (folder / source.member).is_file():
            return folder / source.member, source  # The pins are those of the archive.
    wanted = ", ".join(dict.fromkeys(source.file_name for source in sources if source.file_name)) or "no file by name"
    raise WeightsUnavailableError(
        f"{folder} has none of the files of weights that the card of {what} names ({wanted}): {_content(folder)}. "
        "Give the file in place of its folder"
    )


def check_given_pins(path: Path, source: WeightSource) -> None:
    """Raises ChecksumError unless the file has the size, the git id and the SHA-256 that `source` gives, if it gives any.

    The file must exist; without any of the three it is not opened.
    """
    if source.size is not None and path.stat().st_size != source.size:
        raise ChecksumError(f"the file has {path.stat().st_size} bytes, expected {source.size}: another file")
    if source.git_blob is not None and (found := _git_blob(path)) != source.git_blob:
        raise ChecksumError(f"its git id is {found}, expected {source.git_blob}: another file")
    if source.sha256 is not None:
        check_sha256(path, source.sha256)


def check_is_file(path: Path) -> None:
    """Raises WeightsError if `path` does not exist, or is a folder."""
    if path.is_dir():
        raise WeightsError(f"{path} is a folder, where a file of weights is needed: {_content(path)}")
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")


def _git_blob(path: Path) -> str:
    """Returns the id that git gives to the content of the file: the SHA-1 of a header with its size, and of its bytes."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _content(folder: Path) -> str:
    """Returns what is in a folder, in a few words for error messages: up to `MOST_NAMES` names, or that it is no folder."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"it has {', '.join(names[:MOST_NAMES])}{more}" if names else "it is empty"
