"""Augmentation of training images: random crops, mirroring and RandAugment of each one; mixup and CutMix of a batch."""

import torch
from torch import Tensor
from torchvision.transforms import v2

from hubserve.jobs.fine_tune_recipe import Augmentation

RANDAUGMENT_BINS = 31
"""Number of magnitudes of RandAugment, 0 to 30, as in its paper."""


class RandomViews:
    """Augments images one by one, with torch's global random number generator: random crop, mirroring, RandAugment.

    Args:
        augment: Settings of the augmentation; its `mixup` and `cutmix` are not used.
        size: Side of the images in pixels.
    """

    def __init__(self, augment: Augmentation, size: int) -> None:
        steps: list[torch.nn.Module] = []
        if augment.crop < 1:
            steps.append(v2.RandomResizedCrop(size, scale=(augment.crop, 1.0), antialias=True))
        if augment.flip:
            steps.append(v2.RandomHorizontalFlip())
        if augment.randaugment is not None:
            steps.append(v2.RandAugment(magnitude=augment.randaugment, num_magnitude_bins=RANDAUGMENT_BINS))
        self._change = v2.Compose(steps) if steps else None

    def __call__(self, squares: Tensor) -> Tensor:
        """Returns augmented images; each image is augmented independently.

        Args:
            squares: (n, 3, size, size) uint8.

        Returns:
            The same shape and type.
        """
        return squares if self._change is None else torch.stack([self._change(square) for square in squares])


class RandomMixtures:
    """Mixes the images, or the features, of a batch in random pairs by mixup or CutMix, with torch's global generator.

    Args:
        augment: Settings of which `mixup` and `cutmix` are used. If both are 0, nothing is mixed; if both are above 0, one of
            the two is drawn for each batch.
        classes: Number of classes.
    """

    def __init__(self, augment: Augmentation, classes: int) -> None:
        self._alphas = {name: alpha for name, alpha in (("mixup", augment.mixup), ("cutmix", augment.cutmix)) if alpha > 0}
        self._classes = classes

    def __call__(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mixed batch, and the class probabilities of each mixed image; a batch of one image is not mixed.

        Args:
            inputs: (n, ...) float; CutMix needs maps, (n, channels, height, width), and mixes other shapes by mixup.
            target: Class index of each image, (n,) int64.

        Returns:
            The mixed inputs, and (n, classes) float32.
        """
        probabilities = torch.nn.functional.one_hot(target, self._classes).float()
        if not self._alphas or len(inputs) < 2:
            return inputs, probabilities
        names = list(self._alphas)
        name = names[int(torch.randint(len(names), ()))]
        alpha = self._alphas[name]
        share = float(torch.distributions.Beta(alpha, alpha).sample())  # type: ignore[no-untyped-call]
        other = torch.randperm(len(inputs))
        if name == "cutmix" and inputs.dim() == 4:
            inputs, share = _paste(inputs, inputs[other], share)
        else:
            inputs = torch.lerp(inputs[other], inputs, share)
        return inputs, torch.lerp(probabilities[other], probabilities, share)


def _paste(inputs: Tensor, other: Tensor, share: float) -> tuple[Tensor, float]:
    """Returns `inputs` with a random rectangle replaced by that of `other`, and the share of the area that is not replaced.

    The rectangle has about the share `1 - share` of the area, and the same place in all images.
    """
    height, width = inputs.shape[-2:]
    sides = [round(length * (1 - share) ** 0.5) for length in (height, width)]
    top, left = (int(torch.randint(length - side + 1, ())) for length, side in zip((height, width), sides, strict=True))
    mixed = inputs.clone()
    box = (..., slice(top, top + sides[0]), slice(left, left + sides[1]))
    mixed[box] = other[box]
    return mixed, 1 - sides[0] * sides[1] / (height * width)
