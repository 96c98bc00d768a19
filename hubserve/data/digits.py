"""The handwritten digits of scikit-learn: 1,797 pictures that need no download."""

from __future__ import annotations

import numpy as np
import torch

from hubserve.data.in_memory_dataset import InMemoryDataset, to_pixels
from hubserve.errors import DatasetError
from hubserve.preprocess import Preprocess

LABELS = tuple("0123456789")


def digits_data(size: int) -> InMemoryDataset:
    """All of them: 8 x 8 greys, white on black, resized to `size`.

    Raises:
        DatasetError: scikit-learn is not installed.
    """
    try:
        # Not above: it takes a second, which only these pictures should cost.
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DatasetError("the digits come with scikit-learn: pip install 'hubserve[search]'") from error
    found = load_digits()
    greys = np.rint(found.images * (255 / 16)).astype(np.uint8)
    preprocess = Preprocess(input_size=size, resize=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    pixels = torch.stack([to_pixels(np.dstack([grey] * 3), preprocess) for grey in greys])
    return InMemoryDataset(pixels, torch.from_numpy(found.target), preprocess)
