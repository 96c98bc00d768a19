"""`own_images`: makes a data set of the user's own images, which lie in one folder per class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, validate_call

from hubserve.data.check_pool import Advance
from hubserve.data.file_dataset import FileDataset
from hubserve.data.labelled_data import LabelledData, Share
from hubserve.data.parts import PinnedParts
from hubserve.data.scan import CheckOption, Scan, scan
from hubserve.preprocess import Fit, Preprocess

Pixels = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Reading:
    """Arguments of `own_images` that a calling program sets, and that are not settings of the data set.

    Attributes:
        pinned: Parts of an earlier scan to reuse; None assigns the images to parts anew.
        advance: Progress callback, called with the number of files checked so far and the number of all files.
    """

    pinned: PinnedParts | None = None
    advance: Advance = lambda done, total: None


PLAIN = Reading()
"""The default: no pinned parts and no progress callback."""


@validate_call(config=ConfigDict(arbitrary_types_allowed=True))
def own_images(
    folder: Path,
    *,
    size: Pixels = 224,
    resize: Pixels | None = None,
    fit: Fit = "crop",
    seed: int = 0,
    augment: bool = True,
    val_share: Share = 0.1,
    check: CheckOption = "auto",
    preprocess: Preprocess | None = None,
    reading: Reading = PLAIN,
) -> LabelledData:
    """Makes a data set of the user's image files, which lie in one folder per class.

    The files are checked and assigned to parts by `hubserve.data.scan.scan`; its documentation describes the folder layouts.

    Args:
        folder: Folder with class folders, or with train/, val/ and test/ that hold class folders.
        size: Side in pixels of the square input of the network.
        resize: Length in pixels to which the shorter side is resized before the crop; None uses 8/7 of `size` (256 for 224).
        fit: How an image is fitted to the square; the values are those of `hubserve.preprocess.Preprocess.fit`.
        seed: Seed of the random draw that assigns images to parts.
        augment: Whether to crop and mirror the training images at random, as `FileDataset` does.
        val_share: Share of the training images that becomes the validation part; above 0 and below 0.5.
        check: "all" decodes every file, "headers" reads only headers, "auto" decodes if there are at most 50,000 files.
        preprocess: Complete preprocessing, used in place of `size`, `resize` and `fit`; None builds one from these, with
            ImageNet's mean and standard deviation.
        reading: Parts of an earlier scan, and a progress callback.

    Raises:
        DatasetError: The folder has none of the known layouts, or a class or part has no usable image.
        pydantic.ValidationError: An argument is outside its range.
    """
    record = preprocess or Preprocess(input_size=size, resize=resize or round(size * 8 / 7), fit=fit)
    found = scan(folder, seed=seed, val_share=val_share, check=check, pinned=reading.pinned, advance=reading.advance)
    return scanned_data(found, record, augment=augment)


def scanned_data(found: Scan, preprocess: Preprocess, *, augment: bool = True) -> LabelledData:
    """Returns the data set of the images that a scan found.

    Args:
        found: Result of the scan.
        preprocess: Preprocessing of the images.
        augment: Whether to crop and mirror the training images at random, as `FileDataset` does.
    """
    train, val, test = (found.items(part) for part in ("train", "val", "test"))
    parts = FileDataset(train, preprocess, augment=augment), FileDataset(val, preprocess), FileDataset(test, preprocess)
    return LabelledData(found.source, *parts, found.labels, preprocess, found)
