"""`LabelledData`: a data set with a training, a validation and a test part, its labels and how its inputs are prepared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field
from torch.utils.data import Dataset

from hubserve.data.scan import Scan
from hubserve.preprocess import Preprocess

Share = Annotated[float, Field(gt=0, lt=0.5)]
"""Share of the training images that is used as validation part; above 0 and below 0.5."""


@dataclass(frozen=True)
class LabelledData:
    """A labelled data set in three parts; an evaluator accepts it as `datamodule`.

    Attributes:
        name: Name of the data set, as given to `load_dataset`.
        train: Training part, a torch data set of (input, class index); its images are augmented if the data set defines an
            augmentation.
        val: Validation part, on which networks are scored during a search; items as in `train`, not augmented.
        test: Test part, on which only the final network of a search is scored; items as in `train`, not augmented.
        labels: Names of the classes, in the order of their indices.
        preprocess: Preprocessing of the images in all three parts; it is recorded in the package of a network trained on them.
            None if the inputs are no images.
        scan: Report on the user's files; None for a data set that is loaded by name.
        tokenizer: Content of the tokenizer.json that made the inputs from texts, and that is put into the package; None if the
            inputs are no texts.
        space_settings: Settings that a model space must have for these data, such as the number of tokens, by name. Those that
            a job gives have precedence; `num_labels` is not among them.
    """

    name: str
    train: Dataset[Any]
    val: Dataset[Any]
    test: Dataset[Any]
    labels: tuple[str, ...]
    preprocess: Preprocess | None
    scan: Scan | None = None
    tokenizer: str | None = None
    space_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def noun(self) -> str:
        """The word for an item in messages: "image", "text" or "item"."""
        if self.preprocess is not None:
            return "image"
        return "item" if self.tokenizer is None else "text"

    def train_dataloader(self) -> Dataset[Any]:
        """Returns the training part; the name of the method is that of `LightningDataModule`."""
        return self.train

    def val_dataloader(self) -> Dataset[Any]:
        """Returns the validation part; the name of the method is that of `LightningDataModule`."""
        return self.val
