"""`digits`: loads the handwritten digits data set of scikit-learn, 1,797 images that need no download."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field, validate_call

from hubserve.data.augmentation import CropAndFlip
from hubserve.data.in_memory_dataset import InMemoryDataset, to_pixels
from hubserve.data.labelled_data import LabelledData
from hubserve.data.splits import stratified
from hubserve.errors import DatasetError
from hubserve.preprocess import Preprocess

LABELS = tuple("0123456789")


@validate_call
def digits(*, size: Annotated[int, Field(gt=0)] = 32, seed: int = 0, augment: bool = True) -> LabelledData:
    """Loads the handwritten digits: 60 % of each class for training, 20 % for validation and 20 % for test.

    Args:
        size: Side in pixels of the square images after resizing, 1 to 4096; the originals are 8 x 8 pixels, white on black.
        seed: Seed of the random draw that assigns images to parts.
        augment: Whether to shift the training images at random by up to `size // 16` pixels.

    Raises:
        DatasetError: scikit-learn is not installed.
        ValueError: `size` is out of range (pydantic's ValidationError).
    """
    everything = _all_digits(size)
    train, val, test = stratified(everything.targets.tolist(), (0.6, 0.2), seed=seed)
    shift = CropAndFlip(padding=size // 16, flip=False) if augment else None
    parts = everything.part(train, augment=shift), everything.part(val), everything.part(test)
    return LabelledData("digits", *parts, LABELS, everything.preprocess)


def _all_digits(size: int) -> InMemoryDataset:
    try:
        # Imported here because the import takes a second, which only users of this data set should wait for.
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DatasetError("the digits come with scikit-learn: pip install 'hubserve[search]'") from error
    found = load_digits()
    greys = np.rint(found.images * (255 / 16)).astype(np.uint8)
    preprocess = Preprocess(input_size=size, resize=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    pixels = torch.stack([to_pixels(np.dstack([grey] * 3), preprocess) for grey in greys])
    return InMemoryDataset(pixels, torch.from_numpy(found.target), preprocess)
