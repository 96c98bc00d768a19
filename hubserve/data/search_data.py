"""`SearchData`: the base class of what a search trains, validates and tests on, whatever the items are."""

from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset


@dataclass(frozen=True)
class SearchData:
    """A data set in three parts; an evaluator accepts it as `datamodule`.

    A subclass says what the items are, and has what is known about all of them. How a search uses them is in
    `hubserve.pipeline.tasks`.

    Attributes:
        name: Name of the data set, as given to `load_search_data`.
        train: Training part; its items may be augmented.
        val: Validation part, on which networks are scored during a search; not augmented.
        test: Test part, on which only the final network of a search is scored; not augmented.
    """

    name: str
    train: Dataset[Any]
    val: Dataset[Any]
    test: Dataset[Any]

    def train_dataloader(self) -> Dataset[Any]:
        """Returns the training part; the name of the method is that of `LightningDataModule`."""
        return self.train

    def val_dataloader(self) -> Dataset[Any]:
        """Returns the validation part; the name of the method is that of `LightningDataModule`."""
        return self.val
