"""The record of a model's accuracy on test images: per class, confusion, calibration, and the worst images."""

from pydantic import BaseModel, ConfigDict

ACCURACY_REPORT = "accuracy.json"
"""Name of the file of this record in a package."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ClassFigures(_Record):
    """How well one class is recognised.

    Attributes:
        label: Name of the class.
        images: Number of test images of this class.
        precision: Share of the images that were given this class which have it, in [0, 1]; None if none was given it.
        recall: Share of the images of this class that were given it, in [0, 1]; None if there are no images of it.
    """

    label: str
    images: int
    precision: float | None
    recall: float | None


class ConfusedPair(_Record):
    """Two classes that were confused.

    Attributes:
        label: Name of the true class.
        predicted: Name of the class that was given.
        images: Number of test images.
    """

    label: str
    predicted: str
    images: int


class WrongImage(_Record):
    """A test image that was given a wrong class.

    Attributes:
        file: Its file.
        label: Name of the true class.
        predicted: Name of the class that was given.
        probability: Probability of that class by the model, in [0, 1].
    """

    file: str
    label: str
    predicted: str
    probability: float


class AccuracyReport(_Record):
    """How good a classifier is on test images.

    Attributes:
        dataset: Name of the data.
        images: Number of test images.
        top1: Share of the images that were given the right class, in [0, 1].
        top1_interval: 95 % Wilson interval of `top1`.
        classes: Figures of each class, in the order of the model's classes.
        confusion: Number of images by true class (rows) and given class (columns); None with more than 100 classes.
        confused: Pairs of classes that were confused most often, at most 20, the most frequent first.
        calibration_error: Expected calibration error (Guo et al. 2017, 15 bins of equal width) of the model's probabilities, in
            [0, 1]; lower is better.
        unscaled_calibration_error: The same without the temperature; None if there is no temperature.
        temperature: Number by which logits are divided before the softmax; None leaves them as they are.
        worst: Wrong images with the largest probabilities, at most 10.
        notes: Sentences on what makes these figures doubtful, such as classes with few images.
    """

    dataset: str
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
