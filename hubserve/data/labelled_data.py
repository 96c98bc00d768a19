"""A data set in its three parts, with its labels and the preprocessing that its networks are served with."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch.utils.data import Dataset

from hubserve.data.scan import Scan
from hubserve.preprocess import Preprocess

Share = Annotated[float, Field(gt=0, lt=0.5)]
"""Share of the training images that validate: above 0 and below 0.5."""


@dataclass(frozen=True)
class LabelledData:
    """A data set; it may be given to an evaluator as `datamodule`.

    Attributes:
        name: Name of the data set, as in `load_dataset`.
        train: Part that networks are trained on, augmented where the data set says so.
        val: Part that scores networks during a search.
        test: Part that scores the result of a search, once.
        labels: Names of the classes, in the order of their indices.
        preprocess: Preparation of the images in all three parts; the package of a network trained on them records it.
        scan: What was found in the user's files, for one's own images; None for data sets that are known by name.
    """

    name: str
    train: Dataset[Any]
    val: Dataset[Any]
    test: Dataset[Any]
    labels: tuple[str, ...]
    preprocess: Preprocess
    scan: Scan | None = None

    def train_dataloader(self) -> Dataset[Any]:
        """The training part, under the name that a data module of Lightning gives it."""
        return self.train

    def val_dataloader(self) -> Dataset[Any]:
        """The validation part, under the name that a data module of Lightning gives it."""
        return self.val
