"""What a package is written from: the model of a card, of an arch of a space, or of another package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hubserve.cards.card import Card
from hubserve.cards.labels import labels
from hubserve.export.rebuild_model import rebuild_model
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.pretrained import load_weights, weights_origin
from hubserve.hub.registry import load_model
from hubserve.package.manifest import Provenance
from hubserve.package.package import Package
from hubserve.preprocess import Preprocess
from hubserve.space import FrozenPicker

CROP_RATIO = 0.875
"""Side of the crop by length of the shorter side after the resize, in ImageNet's usual preprocessing: 224 of 256 pixels."""


@dataclass(frozen=True)
class ModelSource:
    """A frozen model with everything that the manifest of its package says about it.

    Attributes:
        name: Name of the model.
        model: Network with its weights. Exporting it does not change it.
        space: Class name of its model space.
        settings: Settings of the space, by name.
        arch: Chosen value of each choice, by label; canonical.
        preprocess: Preprocessing that turns an image into the network's input.
        labels: Label of each class, in the order of the logits.
        provenance: Paper, licence, accuracy and origin of the weights.
    """

    name: str
    model: nn.Module
    space: str
    settings: Mapping[str, Any]
    arch: Mapping[str, Any]
    preprocess: Preprocess
    labels: Sequence[str]
    provenance: Provenance


def card_source(
    card: Card,
    *,
    pretrained: bool = True,
    weights: Path | None = None,
    key_format: str | None = None,
    download: bool = True,
    progress: bool = True,
) -> ModelSource:
    """The model of a card, with its published weights, the weights of a file, or random ones.

    The arguments and their defaults are those of `hubserve.hub.load_model`.

    Raises:
        WeightsError: the weights cannot be downloaded or read, or do not fit the network.
    """
    origin = weights_origin(pretrained=pretrained, weights=weights)
    published = origin == "published"
    provenance = Provenance(
        origin="card",
        paper=card.paper,
        # Accuracy and licence are those of the published weights.
        licence=card.licence if published else None,
        metric=card.metric if published else None,
        weights=origin,
    )
    model = load_model(
        card, pretrained=pretrained, weights=weights, key_format=key_format, download=download, progress=progress
    )
    names = labels(card.classes)
    return ModelSource(card.name, model, card.space, card.settings, card.arch, card.preprocess, names, provenance)


def arch_source(
    space: HubSpace,
    settings: Mapping[str, Any],
    arch: Mapping[str, Any],
    *,
    name: str,
    weights: Path | None = None,
    preprocess: Preprocess | None = None,
    class_labels: tuple[str, ...] | None = None,
) -> ModelSource:
    """The model of an arch, with the weights of a file or random ones.

    Args:
        space: Model space with `settings` applied.
        settings: Settings of the space by name, for the manifest.
        arch: Chosen value of each choice, by label.
        name: Name of the model.
        weights: File of weights with the tensor names of `space.freeze(arch)`; the weights are random where None.
        preprocess: Preprocessing of the model; where None, ImageNet's usual one at the input size of the space.
        class_labels: Label of each class, in the order of the logits; "class 0", "class 1", ... where None.

    Raises:
        ArchError: the arch is not of the space.
        WeightsError: the weights do not fit the network.
    """
    arch = space.canonical(arch)
    # Not `freeze`, which would validate the arch once more.
    model = space.build(FrozenPicker(arch)).eval() if weights is None else load_weights(space, arch, weights)
    size = space.input_size
    return ModelSource(
        name=name,
        model=model,
        space=type(space).__name__,
        settings=settings,
        arch=arch,
        preprocess=preprocess or Preprocess(input_size=size, resize=max(size, round(size / CROP_RATIO))),
        labels=class_labels or tuple(f"class {i}" for i in range(space.num_labels)),
        provenance=Provenance(weights=weights_origin(pretrained=False, weights=weights)),
    )


def package_source(package: Package) -> ModelSource:
    """The model of a package, rebuilt from its space, settings, arch and weights: for further formats, or a later torch.

    Raises:
        PackageError: a file of the package was changed, or its space is not one of the hub.
        WeightsError: the weights do not fit the network.
    """
    package.verify()
    manifest = package.manifest
    return ModelSource(
        name=manifest.name,
        model=rebuild_model(package),
        space=manifest.space,
        settings=manifest.settings,
        arch=manifest.arch,
        preprocess=manifest.preprocess,
        labels=package.labels,
        provenance=manifest.provenance,
    )
