"""`ImageClassifier`: a network together with its preprocessing, labels and temperature, to classify images in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar, overload

import torch
from torch import Tensor, nn

from hubserve.error_messages import first_line
from hubserve.errors import DeviceError, ImageError, SpaceError, TensorError
from hubserve.host import cores
from hubserve.last_layer import InputRecorder, last_layer
from hubserve.package.predictions import Prediction, best_predictions, number_of_predictions
from hubserve.package.runner import check_finite
from hubserve.preprocess import ImageInput, Preprocess, input_pixels

BATCH = 32
"""Largest number of images in one batch of the network."""

_Image = TypeVar("_Image", bound=ImageInput)
_T = TypeVar("_T")


@dataclass(frozen=True)
class ImageTransform:
    """A callable that turns an image into the input of a network; it can be pickled, so a `DataLoader` can use it.

    It is called with one argument, an image as `ImageInput` describes, and returns a tensor (3, input_size, input_size)
    float32. A call raises ImageError if the image cannot be read, and ImageTooLargeError, a subclass of it, if the image is too
    large. It can be the argument `transform` of `torchvision.datasets.ImageFolder`.

    Attributes:
        settings: Settings of the preprocessing: size, fit, interpolation and normalisation.
    """

    settings: Preprocess

    def __call__(self, image: ImageInput) -> Tensor:
        return torch.from_numpy(self.settings.fast(input_pixels(image)))


class ImageClassifier:
    """A network that classifies images, with its preprocessing and the labels of its classes; `hubserve.load` returns one.

    Called with an image, it returns the most likely classes of the image; called with several images, it returns a list for
    each of them. The service returns the same predictions for the same model, up to rounding errors of float32.

    Args:
        network: Network that computes logits (n, classes) from prepared images (n, 3, input_size, input_size). It is not
            copied, and it is put into eval mode. Calls run it on the device and in the data type of its parameters.
        preprocess: Preprocessing that turns an image into the network's input.
        labels: Label of each class, in the order of the logits.
        name: Name of the model.
        arch: Chosen value of each choice of the model space, by the label of the choice; empty if the network does not come
            from a model space.
        temperature: Number above 0 by which logits are divided before the softmax; None means 1.

    Attributes:
        network: The network that was passed.
        preprocess: Function that turns an image into a tensor (3, input_size, input_size), for use in a `DataLoader`.
        labels: Label of each class, in the order of the logits.
        name: Name of the model.
        arch: Chosen value of each choice of the model space, by the label of the choice.
        temperature: Number above 0 by which logits are divided before the softmax; None means 1.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocess: Preprocess,
        labels: Sequence[str],
        *,
        name: str = "",
        arch: Mapping[str, Any] = MappingProxyType({}),
        temperature: float | None = None,
    ) -> None:
        self.network = network.eval()
        self.preprocess = ImageTransform(preprocess)
        self.labels = tuple(labels)
        self.name = name
        self.arch = dict(arch)
        self.temperature = temperature

    @overload
    def __call__(self, images: ImageInput, top_k: int | None = None) -> list[Prediction]: ...

    @overload
    def __call__(
        self, images: list[_Image] | tuple[_Image, ...] | Tensor, top_k: int | None = None
    ) -> list[list[Prediction]]: ...

    def __call__(self, images: Any, top_k: int | None = None) -> list[Prediction] | list[list[Prediction]]:
        """Returns the most likely classes of an image, the most likely one first; for several images, such a list for each.

        Args:
            images: An image, as `ImageInput` describes; a list or tuple of images; or a batch of prepared images, a floating
                point tensor (n, 3, input_size, input_size).
            top_k: Number of classes to return for each image; None means five, or all classes if there are fewer.

        Raises:
            ImageError: An image cannot be read; the message names the file, or the index in the list.
            ImageTooLargeError: An image has too many pixels; a subclass of ImageError.
            TopKError: `top_k` is not between 1 and the number of classes.
            TensorError: The tensor has another shape, or does not hold floating point numbers.
            LogitsError: A logit of the network is NaN or infinite.
            SpaceError: The network returns something else than logits (n, classes).
            RuntimeError: torch cannot run the network, for instance because the memory of the device does not suffice.
        """
        most = number_of_predictions(top_k, len(self.labels))
        logits = self._outputs(images, self._logits)
        check_finite(logits.numpy())
        found = [list(best_predictions(row, self.labels, most, temperature=self.temperature)) for row in logits.numpy()]
        return found if _are_several(images) else found[0]

    def features(self, images: ImageInput | list[_Image] | tuple[_Image, ...] | Tensor) -> Tensor:
        """Returns the features of images: the input of the network's last layer, which computes the logits from it.

        The features have no gradients; call `network` itself to compute gradients.

        Args:
            images: An image, several images, or a batch of prepared images, as for a call of this object.

        Returns:
            (width,) for one image, (n, width) for several; float32 on the CPU.

        Raises:
            ImageError: An image cannot be read; the message names the file, or the index in the list.
            ImageTooLargeError: An image has too many pixels; a subclass of ImageError.
            TensorError: The tensor has another shape, or does not hold floating point numbers.
            SpaceError: The logits do not come from a linear layer or a convolution, or the network returns something else than
                logits (n, classes).
            RuntimeError: torch cannot run the network, for instance because the memory of the device does not suffice.
        """
        found = self._outputs(images, self._features)
        return found if _are_several(images) else found[0]

    def to(self, device: str | torch.device) -> ImageClassifier:
        """Moves the network to a device, such as "cuda", and returns this object.

        Raises:
            DeviceError: torch has no such device, or cannot use it on this machine.
        """
        try:
            self.network.to(device)
        except (RuntimeError, AssertionError) as error:  # AssertionError of a torch that was built without CUDA.
            raise DeviceError(f"device = {str(device)!r} cannot be used: {first_line(error)}; 'cpu' always can") from error
        return self

    def __repr__(self) -> str:
        size = self.preprocess.settings.input_size
        return f"<ImageClassifier {self.name!r}: {len(self.labels)} classes, images of {size} x {size}>"

    def _outputs(self, images: Any, run: Callable[[Tensor], Tensor]) -> Tensor:
        """Prepares the images, calls `run` with batches of them, and returns the outputs for all images as one tensor.

        Raises:
            ImageError: An image cannot be read.
            TensorError: `images` is a tensor that is not a batch of prepared images.
        """
        size = self.preprocess.settings.input_size
        if not isinstance(images, Tensor):
            given = list(images) if _are_several(images) else [images]
            if len(given) == 1:
                return run(self._prepare(given, 0, named=_are_several(images))[None])
            with ThreadPoolExecutor(min(cores(), BATCH)) as pool:
                batches = (pool.map(lambda place: self._prepare(given, place), places) for places in _chunks(range(len(given))))
                outputs = [run(torch.stack(list(batch))) for batch in batches]
            return torch.cat(outputs) if outputs else run(torch.empty(0, 3, size, size))
        if images.shape[1:] != (3, size, size) or not images.is_floating_point():
            raise TensorError(
                f"a tensor of shape {tuple(images.shape)} and type {images.dtype}; prepared images have the shape "
                f"(n, 3, {size}, {size}) and floating point numbers, and `preprocess` makes one of them from an image"
            )
        return torch.cat([run(images[begin : begin + BATCH]) for begin in range(0, max(len(images), 1), BATCH)])

    def _prepare(self, images: Sequence[ImageInput], place: int, *, named: bool = True) -> Tensor:
        try:
            return self.preprocess(images[place])
        except ImageError as error:
            if not named or isinstance(images[place], str):
                raise
            raise type(error)(f"image {place} of the list: {error}") from error

    def _logits(self, batch: Tensor) -> Tensor:
        """Returns the logits of a batch, computed in eval mode, as float32 on the CPU; afterwards the modes are as before.

        Raises:
            SpaceError: The output is not one tensor (n, classes).
        """
        with torch.no_grad(), _evaluation(self.network):
            parameter = next(self.network.parameters(), batch)
            logits = self.network(batch.to(parameter.device, parameter.dtype))
        expected = (len(batch), len(self.labels))
        if not isinstance(logits, Tensor) or logits.shape != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise SpaceError(f"{self.name}: the network returns {found} where logits of shape {expected} are expected")
        return logits.float().cpu()

    def _features(self, batch: Tensor) -> Tensor:
        with InputRecorder(self._last_layer) as recorder:
            self._logits(batch)
        return recorder.features().float().cpu()

    @cached_property
    def _last_layer(self) -> nn.Module:
        """The linear layer or convolution that computes the logits; it is found by a run of the network at the first access.

        Raises:
            SpaceError: The logits do not come from such a layer.
        """
        size = self.preprocess.settings.input_size
        example = torch.zeros(1, 3, size, size)
        self._logits(example)  # Raises SpaceError where the network returns no logits.
        parameter = next(self.network.parameters(), example)
        with _evaluation(self.network):
            found = last_layer(self.network, example.to(parameter.device, parameter.dtype))
        if found is None:
            raise SpaceError(f"{self.name}: its logits come from neither a linear layer nor a convolution; it has no features")
        return found


def _are_several(images: object) -> bool:
    return isinstance(images, list | tuple | Tensor)


def _chunks(places: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (places[begin : begin + BATCH] for begin in range(0, len(places), BATCH))


@contextmanager
def _evaluation(network: nn.Module) -> Iterator[None]:
    """Context manager in whose block `network` is in eval mode; at its end each module gets its former mode back."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
