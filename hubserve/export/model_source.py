"""From a card, or from an arch of a space, to what a package is written from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubserve.cards.card import Card
from hubserve.cards.labels import labels
from hubserve.export.write import Source
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.pretrained import load_weights, weights_origin
from hubserve.hub.registry import load_model
from hubserve.package.manifest import Provenance
from hubserve.preprocess import Preprocess
from hubserve.space import FrozenPicker


def card_source(
    card: Card,
    *,
    pretrained: bool = True,
    weights: Path | None = None,
    key_format: str | None = None,
    download: bool = True,
    progress: bool = True,
) -> Source:
    """The model of a card, with published weights, those of a file, or fresh ones; arguments are those of `load_model`.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
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
    return Source(card.name, model, card.space, card.settings, card.arch, card.preprocess, labels(card.classes), provenance)


def arch_source(
    space: HubSpace,
    settings: Mapping[str, Any],
    arch: Mapping[str, Any],
    *,
    name: str,
    weights: Path | None = None,
    preprocess: Preprocess | None = None,
    class_labels: tuple[str, ...] | None = None,
) -> Source:
    """The model of an arch, with the weights of a file or fresh ones.

    Args:
        space: with `settings` applied.
        settings: of the space, for the manifest.
        arch: label -> value.
        name: of the model.
        weights: a file with the tensor names of `space.freeze(arch)`.
        preprocess: ImageNet's usual one at the space's input size, unless given.
        class_labels: "class 0", "class 1", ... unless given.

    Raises:
        ArchError: the arch is not of the space.
        WeightsError: the weights do not fit.
    """
    arch = space.canonical(arch)
    # Not `freeze`, which would validate the arch once more.
    model = space.build(FrozenPicker(arch)).eval() if weights is None else load_weights(space, arch, weights)
    size = space.input_size
    return Source(
        name=name,
        model=model,
        space=type(space).__name__,
        settings=settings,
        arch=arch,
        preprocess=preprocess or Preprocess(input_size=size, resize=max(size, round(size / 0.875))),
        labels=class_labels or tuple(f"class {i}" for i in range(space.num_labels)),
        provenance=Provenance(weights=weights_origin(pretrained=False, weights=weights)),
    )
