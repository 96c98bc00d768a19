"""A data set from one's own images: class folders, a listing or a data set of the hub, checked by `hubserve.data.scan`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, validate_call

from hubserve.data.check_pool import Advance
from hubserve.data.file_dataset import FileDataset
from hubserve.data.labelled_data import LabelledData, Share
from hubserve.data.listing import Columns
from hubserve.data.parts import PinnedParts
from hubserve.data.scan import CheckOption, Scan, scan
from hubserve.preprocess import Fit, Preprocess

Pixels = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Reading:
    """How data are read that does not change what they are.

    Attributes:
        pinned: Parts of an earlier scan, to which this one keeps; None divides anew.
        roots: Folders below which all files of a listing must lie; None allows all files.
        advance: Called with the number of files that are checked, and of all files.
    """

    pinned: PinnedParts | None = None
    roots: tuple[Path, ...] | None = None
    advance: Advance = lambda done, total: None


PLAIN = Reading()
"""Without pinned parts, without reports of progress."""


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
    """Does what `hubserve.data.scan.scan` does, with settings of a job, whose types and ranges are checked.

    Raises:
        DatasetError: The data cannot be trained on.
        ValueError: A setting has a value that is not allowed (pydantic.ValidationError).
    """
    return scan(
        data,
        columns=Columns(image_column, label_column, part_column),
        roots=reading.roots,
        seed=seed,
        val_share=val_share,
        check=check,
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
    """A data set of one's own images; `hubserve.data.scan.scan` says how it is read, divided and checked.

    Args:
        data: Folder that holds train/ and the others, or class folders; a listing; or `hf://owner/name`.
        size: Side in pixels of the square that the network takes.
        resize: Length in pixels to which the shorter side is resized before the crop; None takes 8/7 of `size` (256 for 224).
        fit: How an image becomes that square, see `hubserve.preprocess.Preprocess`.
        seed: Seed of the draw that decides which image is in which part.
        augment: Whether to crop and mirror the training images at random; see FileDataset.
        val_share: Share of the training images that validate, above 0 and below 0.5.
        check: "all" decodes every file, "headers" reads headers alone, "auto" decodes up to 50,000 files.
        image_column: Column of a listing with the paths of the images, or of a data set of the hub with the images; None takes
            a usual name.
        label_column: Column with the classes; None takes a usual name.
        part_column: Column of a listing with the parts; None takes a usual name, if there is one.
        preprocess: The whole preparation, in place of `size`, `resize` and `fit`; None takes ImageNet's mean and deviation.
        reading: Parts of an earlier scan to keep to, where files may lie, and what reports the progress.

    Raises:
        DatasetError: The data have none of the known layouts, or cannot be trained on.
    """
    record = preprocess or Preprocess(input_size=size, resize=resize or round(size * 8 / 7), fit=fit)
    columns = {"image_column": image_column, "label_column": label_column, "part_column": part_column}
    found = read_scan(data, reading, seed=seed, val_share=val_share, check=check, **columns)
    return scanned_data(found, record, augment=augment)


def scanned_data(found: Scan, preprocess: Preprocess, *, augment: bool = True) -> LabelledData:
    """The data set of scanned images.

    Args:
        found: The scan.
        preprocess: Preparation of the images.
        augment: Whether to change the training images at random; see FileDataset.
    """
    train, val, test = (found.items(part) for part in ("train", "val", "test"))
    parts = FileDataset(train, preprocess, augment=augment), FileDataset(val, preprocess), FileDataset(test, preprocess)
    return LabelledData(found.source, *parts, found.labels, preprocess, found)
