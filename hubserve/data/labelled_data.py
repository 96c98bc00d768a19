"""`LabelledData`: images with a training, a validation and a test part, their labels and their preprocessing."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from hubserve.data.scan import Scan
from hubserve.data.search_data import SearchData
from hubserve.preprocess import Preprocess

Share = Annotated[float, Field(gt=0, lt=0.5)]
"""Share of the training images that is used as validation part; above 0 and below 0.5."""


@dataclass(frozen=True)
class LabelledData(SearchData):
    """A labelled data set of images in three parts; an evaluator accepts it as `datamodule`.

    The items of its parts are pairs (input, class index); the images of the training part are augmented if the data set defines
    an augmentation.

    Attributes, besides those of `SearchData`:
        labels: Names of the classes, in the order of their indices.
        preprocess: Preprocessing of the images in all three parts; it is recorded in the package of a network trained on them.
        scan: Report on the user's image files; None for a data set that is loaded by name.
    """

    labels: tuple[str, ...]
    preprocess: Preprocess
    scan: Scan | None = None
