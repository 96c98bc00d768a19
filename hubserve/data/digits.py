"""The handwritten digits of scikit-learn: 1,797 images that need no download."""

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
    """The digits: 60 % of each class to train, 20 % to validate, 20 % to test.

    Args:
        size: Side in pixels to which the images, 8 x 8 pixels, white on black, are resized.
        seed: Seed of the draw that decides which image is in which part.
        augment: Whether to shift the training images at random, by up to a sixteenth of their side.

    Raises:
        DatasetError: scikit-learn is not installed.
    """
    everything = _all_digits(size)
    train, val, test = stratified(everything.targets.tolist(), (0.6, 0.2), seed=seed)
    shift = CropAndFlip(padding=size // 16, flip=False) if augment else None
    parts = everything.part(train, augment=shift), everything.part(val), everything.part(test)
    return LabelledData("digits", *parts, LABELS, everything.preprocess)


def _all_digits(size: int) -> InMemoryDataset:
    try:
        # Not above: it takes a second, which only this data set should cost.
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DatasetError("the digits come with scikit-learn: pip install 'hubserve[search]'") from error
    found = load_digits()
    greys = np.rint(found.images * (255 / 16)).astype(np.uint8)
    preprocess = Preprocess(input_size=size, resize=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    pixels = torch.stack([to_pixels(np.dstack([grey] * 3), preprocess) for grey in greys])
    return InMemoryDataset(pixels, torch.from_numpy(found.target), preprocess)
