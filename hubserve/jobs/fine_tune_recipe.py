"""`FineTuneRecipe`, the key `recipe` of a fine-tuning job: for how long and how a network is fine-tuned."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]

DEFAULT_MINUTES = 10.0
"""Budget in minutes of a recipe that sets neither `minutes` nor `epochs`."""


class Augmentation(BaseModel):
    """Random changes of the training images.

    Attributes:
        crop: Smallest share of an image's area that a random crop keeps, in (0, 1]; 1 does not crop.
        flip: If True, each image is mirrored, left to right, with probability 0.5.
        randaugment: Magnitude of RandAugment (Cubuk et al. 2020), 0 to 30; None does not use it.
        mixup: Parameter alpha of mixup (Zhang et al. 2018), at least 0; 0 does not use it.
        cutmix: Parameter alpha of CutMix (Yun et al. 2019), at least 0; 0 does not use it. If `mixup` is also above 0, each
            batch is mixed by one of the two, each with probability 0.5.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: Annotated[float, Field(gt=0, le=1)] = 0.6
    flip: bool = True
    randaugment: Annotated[int, Field(ge=0, le=30)] | None = None
    mixup: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    cutmix: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0


class FineTuneRecipe(BaseModel):
    """How a network is fine-tuned.

    Attributes:
        minutes: Limit in minutes, above 0, on computing features and training the head and the other layers. None sets no
            limit. If neither `minutes` nor `epochs` is given, it is `DEFAULT_MINUTES`.
        epochs: Number of passes over the training images, at least 1. If None, training ends after `minutes`. If both are
            given, training ends at the limit that is reached first.
        batch_size: Number of images in a training step on each device, 1 to 65536: a step on several devices has `devices`
            times as many.
        learning_rate: Learning rate of the head after the warm-up, above 0. From then on it decreases to 0 along a cosine.
        body_rate: Factor, at least 0, by which the learning rate of all trained layers except the head is multiplied. 0 trains
            the head only.
        weight_decay: Weight decay, at least 0, of tensors with two dimensions or more. Biases and batch norm have none.
        warm_up: Share of the training, in [0, 1), at its beginning, during which the learning rate rises linearly.
        label_smoothing: Label smoothing of the cross entropy, in [0, 1).
        ema_decay: Decay, in (0, 1), of an exponential moving average of the weights. The averaged weights are validated and
            published. None uses the weights of the last step.
        gradient_clip: Largest norm of all gradients together, above 0; larger ones are scaled down. None does not clip.
        batch_norm: "train" updates the statistics of batch norm layers, "frozen" keeps those of the model that training starts
            from.
        class_weights: Weight of each class in the loss. "none" gives all images the same weight, "auto" gives each class the
            inverse of its share of the images. A mapping from class names to weights above 0 gives all other classes the weight
            1.
        early_layers: "frozen" does not train the early layers, which hold at most 3 % of the weights; their output is then
            computed only once for a few augmented views of each image. "train" trains all layers.
        augment: Random changes of the training images.
        patience: Number of epochs without a better validation accuracy after which training ends, at least 1; None does not end
            it early. Published are the weights of the last epoch that is as good as the best one within sampling error; see
            `best_epoch`.
        precision: Precision of the computation; "auto" is mixed precision on CUDA and 32 bits on other devices.
        devices: Number of processes that train together, 1 to 1024, each on its own GPU, or all on the CPU if there is no GPU.

    Raises:
        pydantic.ValidationError: A key is unknown, or a value has a wrong type or is out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: Positive | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    learning_rate: Positive = 0.05
    body_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-4
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
    devices: Annotated[int, Field(ge=1, le=1024)] = 1

    @model_validator(mode="before")
    @classmethod
    def _add_budget(cls, given: object) -> object:
        """Returns the keys with `minutes` set to `DEFAULT_MINUTES` if neither `minutes` nor `epochs` is given."""
        if isinstance(given, dict) and given.get("minutes") is None and given.get("epochs") is None:
            return given | {"minutes": DEFAULT_MINUTES}
        return given

    @property
    def seconds(self) -> float | None:
        """The limit `minutes` in seconds; None if there is no such limit."""
        return None if self.minutes is None else 60 * self.minutes
