"""The record of how a network is fine-tuned; the key `recipe` of a fine-tuning job."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]

DEFAULT_MINUTES = 10.0
"""Budget in minutes of a recipe that sets neither `minutes` nor `epochs`."""


class Augmentation(BaseModel):
    """Random changes of the training images.

    Attributes:
        crop: Smallest share of the image's area that a random crop keeps, in (0, 1]; 1 does not crop.
        flip: Whether half of the images are mirrored, left to right.
        randaugment: Magnitude of RandAugment (Cubuk et al. 2020), 0 to 30; None does not use it.
        mixup: Parameter alpha of mixup (Zhang et al. 2018), at least 0; 0 does not mix.
        cutmix: Parameter alpha of CutMix (Yun et al. 2019), at least 0; 0 does not mix. With `mixup` as well, half of the
            batches are mixed in each way.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: Annotated[float, Field(gt=0, le=1)] = 0.6
    flip: bool = True
    randaugment: Annotated[int, Field(ge=0, le=30)] | None = None
    mixup: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    cutmix: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class FineTuneRecipe(BaseModel):
    """How a network is fine-tuned.

    Attributes:
        minutes: Minutes for features, head and training, above 0; None sets no limit, so that `epochs` ends the training. If
            neither is given, it is 10.
        epochs: Number of passes over the training images, at least 1; None trains until `minutes` are over. Both together
            end at the limit that is reached first.
        batch_size: Number of images in a training step, at least 1.
        learning_rate: Learning rate of the head after the warm-up, above 0; it falls to 0 on a cosine.
        body_rate: Factor on the learning rate of all other trained layers, at least 0; 0 trains the head alone.
        weight_decay: Weight decay of convolutions and matrices, at least 0; other tensors have none.
        warm_up: Share of the training during which the learning rate rises linearly, in [0, 1).
        label_smoothing: Label smoothing of the cross entropy, in [0, 1).
        ema_decay: Share that a moving average of the weights keeps in a step, in (0, 1); the averaged weights are validated
            and published. None uses the weights of the last step.
        gradient_clip: Largest norm of all gradients together, above 0; None does not clip.
        batch_norm: "train" updates the statistics of batch norm layers, "frozen" keeps those of the model that is started
            from.
        class_weights: "none" counts all images alike, "auto" weighs each class by the inverse of its share of the images;
            a mapping gives a weight above 0 for each class it names, and 1 for the others.
        early_layers: "frozen" keeps the early layers, with at most 3 % of the weights, as they are, so that their features
            are computed once for a few augmented views of each image; "train" trains all layers.
        augment: Random changes of the training images.
        patience: Number of epochs without a better validation accuracy after which training ends, at least 1; None does not
            end it early. The weights of the best epoch are published in either case.
        precision: Precision of the computation; "auto" is mixed precision on CUDA and 32 bits on the CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: Positive | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    learning_rate: Positive = 0.02
    body_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    warm_up: Share = 0.05
    label_smoothing: Share = 0.1
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = 0.995
    gradient_clip: Positive | None = 5.0
    batch_norm: Literal["train", "frozen"] = "train"
    class_weights: Literal["none", "auto"] | dict[str, Positive] = "none"
    early_layers: Literal["frozen", "train"] = "frozen"
    augment: Augmentation = Augmentation()
    patience: Annotated[int, Field(ge=1)] | None = None
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _add_budget(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("minutes") is None and given.get("epochs") is None:
            return given | {"minutes": DEFAULT_MINUTES}
        return given

    @property
    def seconds(self) -> float | None:
        """The budget in seconds; None without a limit of time."""
        return None if self.minutes is None else 60 * self.minutes
