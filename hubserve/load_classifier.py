"""`load`: loads the model that a name or a folder means as an `ImageClassifier`; users call it as `hubserve.load`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from hubserve.cards.card import list_cards, load_card
from hubserve.errors import ExportError
from hubserve.export.model_source import ModelSource, card_source, package_source
from hubserve.export.named_package import package_named, unknown_model
from hubserve.image_classifier import ImageClassifier
from hubserve.package.package import Package, read_package
from hubserve.preprocess import Preprocess


def load(
    model: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    pretrained: bool = True,
    weights: Path | None = None,
    key_format: str | None = None,
    class_labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    download: bool = True,
    progress: bool = True,
    trusted: bool = False,
) -> ImageClassifier:
    """Loads a model by its name, or from a package folder, to classify images in Python.

    No program of a package is run: the network is built by its model space, and its weights are read from safetensors. A model
    space of the user's own is imported where this user wrote the package here.

    Warns, with `hubserve.weights_warning.WeightsWarning`, if the user's own weights have no labels, if weights are used with
    another preprocessing than they were trained with, or if nobody says with which one they were trained.

    Args:
        model: Package folder, alias, name or tag in the store, or pre-searched model (`hubserve models` lists them); looked for
            in this order. A `Path` is always a package folder.
        device: Device of torch on which the network runs; "auto" is "cuda" if torch finds a GPU, and else "cpu".
        pretrained: Whether a pre-searched model gets its published weights. With False they are random, and `model` must be the
            name of a pre-searched model.
        weights: File of weights, or its folder, to use in place of the published ones, for a pre-searched model only.
        key_format: Naming scheme of the tensors in that file; None is "nni" for a file, and the card's own in a folder.
        class_labels: Label of each class, in the order of the logits; None takes those of the model.
        preprocess: Preprocessing of images; None takes that of the model.
        download: Whether weights that are not on this machine may be downloaded.
        progress: Whether to show a progress bar while downloading, where stderr is a terminal.
        trusted: Whether the model space that a package names is imported even if this user did not write the package.

    Raises:
        ModelNotFoundError: No model has that name, or the version of an alias was deleted.
        PackageError: The folder is not a package, a file of it was changed, or its network cannot be rebuilt.
        WeightsError: The published weights cannot be downloaded or read (WeightsUnavailableError), or do not fit the network.
        ExportError: `pretrained` is False or `weights` is given, and the name means a package, which has weights of its own; or
            the number of labels is not that of the classes.
        OtherInputsError: The model takes other inputs than images.
        DeviceError: torch has no such device, or cannot use it on this machine.
    """
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    package = _package(model, own_weights=weights is None and pretrained)
    if package is not None:
        package = replace(package, trusted=trusted)
        return _classifier(package_source(package, class_labels=class_labels, preprocess=preprocess)).to(device)
    source = card_source(
        load_card(os.fspath(model)),
        pretrained=pretrained,
        weights=weights,
        key_format=key_format,
        download=download,
        progress=progress,
        class_labels=class_labels,
        preprocess=preprocess,
    )
    return _classifier(source).to(device)


def _package(model: str | os.PathLike[str], *, own_weights: bool) -> Package | None:
    """Returns the package that `model` means; None if it means a card.

    Args:
        model: See `load`.
        own_weights: Whether the model is to have the weights that are published or packaged with it. If not, a name that both a
            card and the store have means the card.

    Raises:
        ModelNotFoundError: No model has that name.
        PackageError: The folder is not a package.
        ExportError: `model` means a package, and `own_weights` is False.
    """
    name = os.fspath(model)
    is_card = isinstance(model, str) and name in list_cards()
    if is_card and not own_weights:
        return None
    package = package_named(name) if isinstance(model, str) else read_package(Path(name))
    if package is not None and not own_weights:
        raise ExportError(
            f"{name} is a package, which has its own weights: pretrained=False and weights=... go with a pre-searched model"
        )
    if package is None and not is_card:
        raise unknown_model(name)
    return package


def _classifier(source: ModelSource) -> ImageClassifier:
    return ImageClassifier(
        source.model, source.image_preprocess, source.labels, name=source.name, arch=source.arch, temperature=source.temperature
    )
