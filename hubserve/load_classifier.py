"""`load`: the model that a name or a folder means, as an `ImageClassifier`; users call it as `hubserve.load`."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from hubserve.cards.card import list_cards, load_card
from hubserve.errors import ExportError
from hubserve.export.model_source import ModelSource, card_source, package_source
from hubserve.export.named_source import package_named, unknown_model
from hubserve.image_classifier import ImageClassifier
from hubserve.package.package import Package, read_package


def load(
    model: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    pretrained: bool = True,
    download: bool = True,
    progress: bool = True,
    trusted: bool = False,
) -> ImageClassifier:
    """Loads a model by its name, or from a package folder, to classify images in Python.

    No program of a package is run: the network is built by its model space, and its weights are read from safetensors. A model
    space of the user's own is imported where this user wrote the package here.

    Args:
        model: Package folder, alias, name or tag in the store, or pre-searched model (`hubserve models` lists them); looked for
            in this order. A `Path` is always a package folder.
        device: Device of torch on which the network runs; "auto" is "cuda" if torch finds a GPU, and else "cpu".
        pretrained: Whether a pre-searched model gets its published weights. With False they are random, and `model` must be the
            name of a pre-searched model.
        download: Whether weights that are not on this machine may be downloaded.
        progress: Whether to show a progress bar while downloading, where stderr is a terminal.
        trusted: Whether the model space that a package names is imported even if this user did not write the package.

    Raises:
        ModelNotFoundError: No model has that name; the message suggests similar names.
        PackageError: The folder is not a package, a file of it was changed, or its network cannot be rebuilt.
        WeightsError: The published weights cannot be downloaded or read (WeightsUnavailableError), or do not fit the network.
        ExportError: `pretrained` is False, and the name means a package, which has weights of its own.
        DeviceError: torch has no such device, or cannot use it on this machine.
    """
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    package = _package(model, pretrained=pretrained)
    if package is not None:
        return _classifier(package_source(replace(package, trusted=trusted))).to(device)
    card = load_card(os.fspath(model))
    return _classifier(card_source(card, pretrained=pretrained, download=download, progress=progress)).to(device)


def _package(model: str | os.PathLike[str], *, pretrained: bool) -> Package | None:
    """The package that `model` means; None where it means a card."""
    name = os.fspath(model)
    is_card = isinstance(model, str) and name in list_cards()
    if is_card and not pretrained:
        return None
    package = package_named(name) if isinstance(model, str) else read_package(Path(name))
    if package is not None and not pretrained:
        raise ExportError(f"{name} is a package, which has its own weights: pretrained=False goes with a pre-searched model")
    if package is None and not is_card:
        raise unknown_model(name)
    return package


def _classifier(source: ModelSource) -> ImageClassifier:
    return ImageClassifier(
        source.model, source.preprocess, source.labels, name=source.name, arch=source.arch, temperature=source.temperature
    )
