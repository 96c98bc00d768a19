"""`own_images`: makes a data set of the user's own images: class folders, a listing, or a data set of the hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, validate_call

from hubserve.data.check_pool import Advance
from hubserve.data.file_dataset import FileDataset
from hubserve.data.labelled_data import LabelledData, Share
from hubserve.data.listing_rows import Columns
from hubserve.data.parts import PinnedParts
from hubserve.data.scan import CheckOption, Scan, scan
from hubserve.preprocess import Fit, Preprocess

Pixels = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Reading:
    """Arguments of `own_images` and `read_scan` that the calling program sets; they are no settings of the data set.

    Attributes:
        pinned: Parts of an earlier scan to reuse; None assigns the images to parts anew.
        roots: Folders below which all files of a listing must lie; None allows all files.
        advance: Progress callback, called with the number of files checked so far and the number of all files.
        check: Value that replaces the argument `check` of the function; None keeps the argument.
    """

    pinned: PinnedParts | None = None
    roots: tuple[Path, ...] | None = None
    advance: Advance = lambda done, total: None
    check: CheckOption | None = None


PLAIN = Reading()
"""The default: no pinned parts, no restriction to folders, no progress callback."""


@validate_call(config=ConfigDict(arbitrary_types_allowed=True))
def read_scan(
    data: Path | str,
    reading: Reading = PLAIN,
    *,
    seed: int = 0,
    val_share: Share = 0.1,
    check: CheckOption = "auto",
    image_column: str | None = None,
    label_column: str | None = None,
    part_column: str | None = None,
) -> Scan:
    """Calls `hubserve.data.scan.scan` with settings of a job, whose types and ranges are checked, and returns its result.

    Args:
        data: Folder, listing, or address of a data set of the Hugging Face hub.
        reading: Parts of an earlier scan, folders to which a listing is restricted, and a progress callback.
        seed: Seed of the random draw that assigns images to parts.
        val_share: Share of the training images that becomes the validation part; above 0 and below 0.5.
        check: "all" decodes every file, "headers" reads only headers, "auto" decodes if there are at most 50,000 files.
        image_column: Name of the column with the images or their paths; None uses a usual name.
        label_column: Name of the column with the classes; None uses a usual name.
        part_column: Name of the column with the parts; None uses a usual name, if there is a column of that name.

    Raises:
        DatasetError: The data cannot be read or have none of the known layouts, or a class or part has no usable image.
        MissingExtraError: A library of an optional extra is not installed.
        StorageError: A data set of the hub cannot be stored, since the disk is full or not writable.
        ValueError: An argument has a value that is not allowed (pydantic's ValidationError).
    """
    return scan(
        data,
        columns=Columns(image_column, label_column, part_column),
        roots=reading.roots,
        seed=seed,
        val_share=val_share,
        check=reading.check or check,
        pinned=reading.pinned,
        advance=reading.advance,
    )


@validate_call(config=ConfigDict(arbitrary_types_allowed=True))
def own_images(
    data: Path | str,
    *,
    size: Pixels = 224,
    resize: Pixels | None = None,
    fit: Fit = "crop",
    seed: int = 0,
    augment: bool = True,
    val_share: Share = 0.1,
    check: CheckOption = "auto",
    image_column: str | None = None,
    label_column: str | None = None,
    part_column: str | None = None,
    preprocess: Preprocess | None = None,
    reading: Reading = PLAIN,
) -> LabelledData:
    """Makes a data set in three parts of the user's image files, and returns it.

    The files are checked and assigned to parts by `hubserve.data.scan.scan`; its documentation describes the layouts.

    Args:
        data: Folder with class folders, or with train/, val/ and test/ that hold class folders; a listing; or the address of a
            data set of the Hugging Face hub, `hf://owner/name`.
        size: Side in pixels of the square input of the network.
        resize: Length in pixels to which the shorter side is resized before the crop; None uses 8/7 of `size` (256 for 224).
        fit: How an image is fitted to the square; the values are those of `hubserve.preprocess.Preprocess.fit`.
        seed: Seed of the random draw that assigns images to parts.
        augment: Whether to crop and mirror the training images at random, as `FileDataset` does.
        val_share: Share of the training images that becomes the validation part; above 0 and below 0.5.
        check: "all" decodes every file, "headers" reads only headers, "auto" decodes if there are at most 50,000 files.
        image_column: Column of a listing with the paths of the images, or of a data set of the hub with the images; None uses
            a usual name.
        label_column: Column with the classes; None uses a usual name.
        part_column: Column of a listing with the parts; None uses a usual name, if there is a column of that name.
        preprocess: Complete preprocessing, used in place of `size`, `resize` and `fit`; None builds one from these, with
            ImageNet's mean and standard deviation.
        reading: Parts of an earlier scan, folders to which a listing is restricted, and a progress callback.

    Raises:
        DatasetError: The data cannot be read or have none of the known layouts, or a class or part has no usable image.
        MissingExtraError: A library of an optional extra is not installed.
        StorageError: A data set of the hub cannot be stored, since the disk is full or not writable.
        ValueError: An argument has a value that is not allowed (pydantic's ValidationError).
    """
    record = own_preprocess(size=size, resize=resize, fit=fit, preprocess=preprocess)
    columns = {"image_column": image_column, "label_column": label_column, "part_column": part_column}
    found = read_scan(data, reading, seed=seed, val_share=val_share, check=check, **columns)
    return scanned_data(found, record, augment=augment)


def own_preprocess(
    *, size: int = 224, resize: int | None = None, fit: Fit = "crop", preprocess: Preprocess | None = None
) -> Preprocess:
    """Returns the preprocessing that the arguments of `own_images` describe, which has these arguments, too.

    Raises:
        ValueError: The sizes do not go together (pydantic's ValidationError).
    """
    return preprocess or Preprocess(input_size=size, resize=resize or round(size * 8 / 7), fit=fit)


def scanned_data(found: Scan, preprocess: Preprocess, *, augment: bool = True) -> LabelledData:
    """Returns the images that a scan found as a data set in three parts.

    Args:
        found: Result of the scan.
        preprocess: Preprocessing of the images.
        augment: Whether to crop and mirror the training images at random, as `FileDataset` does.
    """
    train, val, test = (found.items(part) for part in ("train", "val", "test"))
    parts = FileDataset(train, preprocess, augment=augment), FileDataset(val, preprocess), FileDataset(test, preprocess)
    return LabelledData(found.source, *parts, found.labels, preprocess, found)
