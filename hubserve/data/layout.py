"""Finds the parts (train, val, test) and the class folders in a folder of images; raises DatasetError if they are not clear."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path

from hubserve.data.file_kind import IMAGES, FileKind
from hubserve.data.folder_walk import LeftOut, Walk, folder_names, left_out_text, named, walk
from hubserve.data.names import PARTS, Part, class_names, part_of, quoted, shown
from hubserve.errors import DatasetError
from hubserve.similar_names import suggest

BESIDE = "beside the class folders"
"""The `LeftOut.kind` of images that lie directly in a folder of class folders."""

Classes = Mapping[str, Sequence[Path]]
"""Mapping from the name of each class to its image files; names and files are sorted."""


@dataclass(frozen=True)
class Layout:
    """The image files of a data set by part and class.

    Attributes:
        root: Folder of the data set; for a listing, the folder that contains the listing.
        parts: Classes of each part, with their image files; a data set that is not divided into parts has the single key None.
        left_out: Files that are not used, each with the reason.
        notes: Messages for the user, such as that the folder valid/ is taken as the val part.
    """

    root: Path
    parts: Mapping[Part | None, Classes]
    left_out: Sequence[LeftOut] = ()
    notes: Sequence[str] = field(default=())


def class_folders(root: Path, *, allow_empty: bool = False) -> Layout:
    """Returns the layout of a folder in which every sub-folder is a class; no sub-folder is taken as a part.

    Args:
        root: Folder with a sub-folder of images for each class.
        allow_empty: Whether class folders, even all of them, may have no image.

    Returns:
        Layout with the single part None.

    Raises:
        DatasetError: `root` is not a folder or has no sub-folder, the name of a sub-folder cannot be a class name, or, unless
            `allow_empty` is True, a sub-folder has no image or `root` is above the folder of the class folders.
    """
    classes, left_out, notes = _classes(root, root, IMAGES, allow_empty=allow_empty)
    return Layout(root, {None: classes}, left_out, notes)


def folder_layout(root: Path, kind: FileKind = IMAGES) -> Layout:
    """Returns the layout of a folder that holds either class folders, or train/, val/ and test/ with class folders in them.

    val/ and test/ may be missing.

    Args:
        root: The folder.
        kind: Kind of the files that are items of the data set.

    Raises:
        DatasetError: The folder has neither of these layouts, the right folder is the one above it or one in it, two folders
            mean the same part, val/ or test/ has a class that train/ does not have, a class has no image (in train/, if there
            are parts), or the name of a folder cannot be a class name.
    """
    if not root.is_dir():
        raise DatasetError(f"{shown(root)} is not a folder; expected one with a sub-folder for each class")
    top = _walk(root, root, kind)
    parts = part_folders(root, top.folders)
    if not parts:
        classes, left_out, notes = _classes(root, root, kind, found=top)
        notes += [f"{name}/ holds {kind.noun}s directly, so it is taken as a class" for name in top.folders if part_of(name)]
        return Layout(root, {None: classes}, left_out, notes)
    return _divided(root, parts, top, kind)


def part_folders(root: Path, names: Sequence[str]) -> dict[Part, str]:
    """Returns the name of the folder of each part; an empty dictionary if the data set is not divided into parts.

    A folder counts as a part if its name is that of a part and it has sub-folders. Without sub-folders it may be a class:
    beside "bus" and "car", "train" is a vehicle.

    Args:
        root: Folder of the data set.
        names: Names of the folders directly in `root`.

    Raises:
        DatasetError: Two of the folders mean the same part.
        OSError: One of the folders cannot be read.
    """
    parts: dict[Part, str] = {}
    for name in names:
        part = part_of(name)
        if part is None or not folder_names(root / name):
            continue
        if part in parts:
            raise DatasetError(
                f"{shown(root)} has {parts[part]}/ and {name}/, and both names mean the {part} part; keep one of them"
            )
        parts[part] = name
    return parts


def _divided(root: Path, parts: Mapping[Part, str], top: Walk, kind: FileKind) -> Layout:
    others = [name for name in top.folders if name not in parts.values()]
    if "train" not in parts:
        there = ", ".join(f"{name}/" for name in parts.values())
        beside = f" beside {named(f'{name}/' for name in others)}" if others else " alone"
        raise DatasetError(
            f"{shown(root)} has {there}{beside}; expected train/ with val/ or test/, or class folders alone: rename {there} if "
            "it is a class, or list the files with their parts in a CSV file"
        )
    found: dict[Part | None, Classes] = {}
    notes = [f"{name}/ is taken as the {part} part" for part, name in parts.items() if name != part]
    left_out = [entry for entry in top.left_out if "/" not in entry.file]
    for part in PARTS:
        if part in parts:
            found[part], more, remarks = _classes(root / parts[part], root, kind, allow_empty=part != "train")
            left_out.extend(more)
            notes.extend(remarks)
    for name in others:
        inside = walk(root / name, root, kind=kind)
        # A test/ with images directly in it, for example, which have no labels.
        why = "without a class" if part_of(name) else "beside the parts"
        left_out.extend(LeftOut(shown(path.relative_to(root)), why) for path in inside.images)
        left_out.extend(inside.left_out)
    left_out.extend(_loose(root, top))
    _check_same_classes(root, parts, found)
    return Layout(root, found, left_out, notes)


def _check_same_classes(root: Path, parts: Mapping[Part, str], found: Mapping[Part | None, Classes]) -> None:
    known = found["train"]
    for part, classes in found.items():
        unknown = next((name for name in classes if name not in known), None)
        if part is not None and unknown is not None:
            raise DatasetError(
                f"{shown(root / parts[part])} has a folder {quoted(unknown)}, which is none of the {len(known)} classes of "
                f"{parts['train']}/. {suggest(unknown, known)}"
            )


def _classes(
    folder: Path, root: Path, kind: FileKind, *, found: Walk | None = None, allow_empty: bool = False
) -> tuple[dict[str, list[Path]], list[LeftOut], list[str]]:
    """Finds the class folders in `folder` and the images in them.

    Args:
        folder: Folder with the class folders.
        root: Folder to which the paths of left-out files are relative.
        kind: Kind of the files.
        found: Result of `walk` for `folder`; None searches the folder.
        allow_empty: Whether class folders may have no image.

    Returns:
        The image files of each class, the files that are left out, and messages for the user.

    Raises:
        DatasetError: The same cases as for `class_folders`.
    """
    if not folder.is_dir():
        raise DatasetError(f"{shown(folder)} is not a folder; expected one with a sub-folder for each class")
    found, noun = found or _walk(folder, root, kind), kind.noun
    if not found.folders:
        hint = f"; it has {found.direct} {noun}s directly in it: name the folder above it" if found.direct else ""
        raise DatasetError(f"{shown(folder)} has no sub-folders; expected one for each class, with {noun}s in it{hint}")
    images: dict[str, list[Path]] = {name: [] for name in found.folders}
    for path in found.images:
        first, *inner = path.relative_to(folder).parts
        if inner:
            images[first].append(path)
    left_out = [*found.left_out, *_loose(folder, found, root)]
    if not any(images.values()) and not allow_empty:
        raise DatasetError(no_image_text(folder, images, left_out, kind))
    # Elsewhere the names of the folders are known, and wrong ones are refused.
    notes = [] if allow_empty else _check_level(folder, images, noun)
    names = class_names(list(images), shown(folder))
    empty = [name for name, paths in images.items() if not paths]
    if empty and not allow_empty:
        below = tuple(f"{shown((folder / name).relative_to(root))}/" for name in empty)
        skipped = [entry for entry in left_out if entry.file.startswith(below)]
        raise DatasetError(
            f"{shown(folder)}: there is no {noun} in the class folders {_folders(empty)}; put {noun}s "
            "there, or remove them" + (f". Left out: {left_out_text(skipped)}" if skipped else "")
        )
    return {names[name]: paths for name, paths in images.items()}, left_out, notes


def no_image_text(folder: Path, classes: Sized, left_out: Sequence[LeftOut], kind: FileKind = IMAGES) -> str:
    """Returns the error message for a folder whose class folders have no image at all.

    Args:
        folder: Folder with the class folders.
        classes: The class folders.
        left_out: Files that are not used, each with the reason.
        kind: Kind of the files.
    """
    text = (
        f"{shown(folder)} has {len(classes)} class folders and no {kind.noun} in them; known endings: {sorted(kind.suffixes)}"
    )
    direct = sum(entry.kind == BESIDE for entry in left_out)
    if direct:
        text += f"; {direct} {kind.noun}s lie directly in it: if they are those of one class, name the folder above it"
    return text + (f". Left out: {left_out_text(left_out)}" if left_out else "")


def _check_level(folder: Path, images: Mapping[str, Sequence[Path]], noun: str) -> list[str]:
    """Checks that the sub-folders of `folder` are the classes, and returns a list of messages for the user.

    The list has one message if the sub-folders may not be the classes, and else none.

    Args:
        folder: Folder with the class folders.
        images: Files of each sub-folder.
        noun: Word for a file in messages.

    Raises:
        DatasetError: The sub-folders hold no images themselves but class folders or parts, so that one of them should be named
            in place of `folder`.
    """
    inner = {name: {path.relative_to(folder / name).parts[0] for path in paths} for name, paths in images.items() if paths}
    if any(path.parent == folder / name for name, paths in images.items() for path in paths):
        return []
    if len(inner) == 1:
        ((name, below),) = inner.items()
        if len(below) > 1 or any(part_of(entry) for entry in below):
            raise DatasetError(
                f"{shown(folder)} has {noun}s in the one folder {shown(name)}/ alone, which holds the folders "
                f"{_folders(below)}: this is one level too high; name "
                f"{shown(folder / name)}"
            )
    common = set.intersection(*inner.values()) if len(inner) > 1 else set()
    if len(common) < 2 and not any(part_of(entry) for entry in common):
        return []
    text = f"each of the folders {_folders(inner)} holds no {noun} but the folders {_folders(common)}"
    # The same few sub-folders in many folders are rather days or cameras than classes.
    if len(common) < len(inner) and not any(part_of(entry) for entry in common):
        return [f"{text}; {_folders(inner)} are taken as the classes"]
    raise DatasetError(
        f"{shown(folder)}: {text}: this is one level too high; name one of them, or list the files with their classes in a CSV "
        "file"
    )


def _folders(names: Iterable[str]) -> str:
    """Returns the first few of the folder names, sorted, as text for a message."""
    return named(f"{shown(name)}/" for name in sorted(names))


def _loose(folder: Path, found: Walk, root: Path | None = None) -> list[LeftOut]:
    """Returns the images that lie directly in `folder` and not in a class folder, as entries for `Layout.left_out`."""
    return [LeftOut(shown(path.relative_to(root or folder)), BESIDE) for path in found.images if path.parent == folder]


def _walk(folder: Path, root: Path, kind: FileKind) -> Walk:
    try:
        return walk(folder, root, kind=kind)
    except OSError as error:
        raise DatasetError(f"{shown(folder)} cannot be opened: {error.strerror}") from error
