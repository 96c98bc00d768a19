"""The record of a model's accuracy on test images or texts: per class, confusion, calibration, and the worst ones."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

ACCURACY_REPORT = "accuracy.json"
"""Name of the file of this record in a package."""

Items = Literal["images", "texts"]
"""What a classifier classifies, in the plural, as reports name it."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ClassFigures(_Record):
    """How well one class is recognised.

    Attributes:
        label: Name of the class.
        images: Number of test images, or texts, of this class.
        precision: Share of the images predicted as this class that are truly of it, in [0, 1]; None if the model predicted this
            class for no image.
        recall: Share of the images of this class that the model predicted as this class, in [0, 1]; None if `images` is 0.
    """

    label: str
    images: int
    precision: float | None
    recall: float | None


class ConfusedPair(_Record):
    """A true class and a wrong class that the model predicted for images of it.

    Attributes:
        label: Name of the true class.
        predicted: Name of the wrong class that the model predicted.
        images: Number of test images, or texts, of the class `label` that the model predicted as `predicted`.
    """

    label: str
    predicted: str
    images: int


class WrongImage(_Record):
    """A test image, or text, for which the model predicted a wrong class.

    Attributes:
        file: Path of the image file; of a text, its beginning.
        label: Name of the true class.
        predicted: Name of the wrong class that the model predicted.
        probability: Probability that the model gave to the class `predicted`, in [0, 1].
    """

    file: str
    label: str
    predicted: str
    probability: float


class AccuracyReport(_Record):
    """The accuracy and the errors of a classifier on test images or texts; a package keeps it in accuracy.json.

    The key "images" of the JSON documents is the number of texts where `items` is "texts".

    Attributes:
        dataset: Name of the data set.
        items: What was classified: "images" or "texts".
        images: Number of test images, or texts.
        top1: Share of the test images whose predicted class is the true one, in [0, 1].
        top1_interval: Lower and upper bound of the 95 % Wilson interval of `top1`.
        classes: Figures of each class, in the order of the model's classes.
        confusion: Number of images by true class (rows) and predicted class (columns); None for more than 100 classes.
        confused: The pairs of classes that were confused most often, at most 20, the most frequent one first.
        calibration_error: Expected calibration error (Guo et al. 2017, 15 bins of equal width) of the model's probabilities, in
            [0, 1]; lower is better.
        unscaled_calibration_error: The calibration error without the division by `temperature`; None if `temperature` is None.
        temperature: Number by which logits are divided before the softmax; None means that they are not divided.
        worst: The wrongly classified images with the largest `probability`, at most 10.
        notes: Sentences that name reasons to doubt these figures, such as classes with few images.
    """

    dataset: str
    items: Items = "images"
    images: int
    top1: float
    top1_interval: tuple[float, float]
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    confused: tuple[ConfusedPair, ...]
    calibration_error: float
    unscaled_calibration_error: float | None = None
    temperature: float | None = None
    worst: tuple[WrongImage, ...] = ()
    notes: tuple[str, ...] = ()
