"""A data set from one's own images, in one folder for each class; ImageNet's layout, too."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import validate_call

from hubserve.cards.labels import imagenet_wnids, labels
from hubserve.data.file_dataset import FileDataset
from hubserve.data.image_folder import Item, scan_folder
from hubserve.data.labelled_data import LabelledData, Share
from hubserve.data.splits import stratified
from hubserve.errors import DatasetError
from hubserve.preprocess import Preprocess


@validate_call
def own_images(
    folder: Path,
    *,
    size: int = 224,
    resize: int | None = None,
    seed: int = 0,
    augment: bool = True,
    val_share: Share = 0.1,
    preprocess: Preprocess | None = None,
) -> LabelledData:
    """A data set of image files, one folder for each class, divided in one of three ways.

    With train/, val/ and test/ these are the parts. With train/ and val/ alone (ImageNet), or train/ and test/ alone, the
    second one is the test part, and a share of train/ validates. With class folders alone, a share validates and another one
    of the same size tests.

    Args:
        folder: Folder that holds train/ and the others, or the class folders.
        size: Side in pixels of the square that the network takes.
        resize: Length in pixels to which the shorter side is resized before the crop; None takes 8/7 of `size` (256 for 224).
        seed: Seed of the draw that decides which image is in which part.
        augment: Whether to crop and mirror the training images at random; see FileDataset.
        val_share: Share of the training images that validate, above 0 and below 0.5.
        preprocess: The whole preparation, in place of `size` and `resize`; None takes ImageNet's mean and deviation.

    Raises:
        DatasetError: The folder has none of these layouts, or a part has a class that train/ lacks.
    """
    record = preprocess or Preprocess(input_size=size, resize=resize or round(size * 8 / 7))
    train, val, test, classes = image_parts(folder, val_share, seed)
    parts = FileDataset(train, record, augment=augment), FileDataset(val, record), FileDataset(test, record)
    return LabelledData("folder", *parts, _label_names(classes), record)


_Parts = tuple[Sequence[Item], Sequence[Item], Sequence[Item], Sequence[str]]
"""The items of the training, the validation and the test part, and the names of the class folders."""


def image_parts(root: Path, val_share: float, seed: int) -> _Parts:
    """The image files in a folder, divided as `own_images` does.

    Args:
        root: Folder that holds train/ and the others, or the class folders.
        val_share: Share of the training images that validate.
        seed: Seed of the division.

    Raises:
        DatasetError: The folder has none of the layouts, or a part has a class that train/ lacks.
    """
    present = [part for part in ("train", "val", "test") if (root / part).is_dir()]
    if present and ("train" not in present or len(present) == 1):
        raise DatasetError(
            f"{root} has {'/, '.join(present)}/ alone; expected train/ and val/ or test/, or class folders alone"
        )
    first = scan_folder(root / "train" if present else root)
    classes = {name: i for i, name in enumerate(first.files)}
    items = first.items(classes)
    others = [scan_folder(root / part).items(classes) for part in present[1:]]
    if len(others) == 2:
        return items, others[0], others[1], list(classes)
    # One part is missing with train/ and another folder, two with class folders alone.
    shares = (1 - val_share,) if others else (1 - 2 * val_share, val_share)
    divided = stratified([label for _, label in items], shares, seed=seed)
    train, val, *test = ([items[index] for index in part] for part in divided)
    return train, val, (others or test)[0], list(classes)


def _label_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes: those of the folders, or of ImageNet's classes where all folders are WordNet ids."""
    names = dict(zip(imagenet_wnids(), labels("imagenet-1k"), strict=True))
    return tuple(names[name] for name in classes) if all(name in names for name in classes) else tuple(classes)
