"""Models to export (`ModelSource`), made from a card, from an arch of a model space, or from another package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from hubserve.cards.card import Card
from hubserve.cards.labels import labels
from hubserve.errors import ExportError
from hubserve.export.labels_and_preprocessing import label_note, own_preprocess, preprocess_note, usual_resize
from hubserve.export.rebuild_model import rebuild_model
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.pretrained import load_weights, weights_origin
from hubserve.hub.registry import load_model, space_name
from hubserve.package.accuracy_report import AccuracyReport
from hubserve.package.manifest import Provenance
from hubserve.package.package import Package
from hubserve.preprocess import Preprocess
from hubserve.space import FrozenPicker


@dataclass(frozen=True)
class ModelSource:
    """A frozen model to export, with the data about it that is written to the manifest of its package.

    Attributes:
        name: Name of the model.
        model: Network with its weights. Exporting it does not change it.
        space: Name of its model space, as `hubserve.hub.registry.space_name` returns it.
        settings: Settings of the space, by name.
        arch: Chosen value of each choice, by label, as `ModelSpace.canonical` returns it.
        preprocess: Preprocessing that turns an image into the network's input.
        labels: Label of each class, in the order of the logits.
        provenance: Paper, licence and published accuracy of the model, and the origin of its weights.
        temperature: Number by which logits are divided before the softmax; None leaves them as they are.
        accuracy: Accuracy on test images; None where it was not measured.
        notes: Warnings for whoever exports the model, such as that its labels are not known.
    """

    name: str
    model: nn.Module
    space: str
    settings: Mapping[str, Any]
    arch: Mapping[str, Any]
    preprocess: Preprocess
    labels: Sequence[str]
    provenance: Provenance
    temperature: float | None = None
    accuracy: AccuracyReport | None = None
    notes: tuple[str, ...] = ()


def card_source(
    card: Card,
    *,
    pretrained: bool = True,
    weights: Path | None = None,
    key_format: str | None = None,
    download: bool = True,
    progress: bool = True,
) -> ModelSource:
    """Returns the model of a card to export, with its published weights, the weights in a file, or random ones.

    Args:
        card: Card of the model.
        pretrained: Whether to load weights; with False and no `weights`, they are random.
        weights: File of weights that is used in place of the published ones; None uses those.
        key_format: Naming scheme of the tensors in the file; None is "nni" for `weights`, and the card's own for its sources.
        download: Whether the published weights may be downloaded.
        progress: Whether to show a progress bar while downloading.

    Raises:
        CardError: The space of the card, or one of its settings, does not exist.
        ArchError: The arch of the card does not belong to its space.
        WeightsError: The weights cannot be downloaded or read, or do not fit the network.
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
    notes = []
    if weights is not None and key_format not in {None, *(source.key_format for source in card.weights)}:
        own = own_preprocess(key_format, card.settings, card.preprocess.input_size)
        notes.append(preprocess_note(key_format, card.preprocess, own, given=False) or "")
    return ModelSource(
        name=card.name,
        model=model,
        space=card.space,
        settings=card.settings,
        arch=card.arch,
        preprocess=card.preprocess,
        labels=names,
        provenance=provenance,
        notes=tuple(notes),
    )


def arch_source(
    space: HubSpace,
    settings: Mapping[str, Any],
    arch: Mapping[str, Any],
    *,
    name: str,
    weights: Path | None = None,
    key_format: str | None = None,
    preprocess: Preprocess | None = None,
    class_labels: tuple[str, ...] | None = None,
) -> ModelSource:
    """Returns the model of an arch to export, with the weights in a file or random ones.

    Args:
        space: Model space with `settings` applied.
        settings: Settings of the space by name, for the manifest.
        arch: Chosen value of each choice, by label.
        name: Name of the model.
        weights: File of weights; None gives random weights.
        key_format: Naming scheme of the tensors in the file; None is "nni", the names of `space.freeze(arch)`.
        preprocess: Preprocessing of the model; None gives that of the key format if it has one, otherwise ImageNet's usual one,
            at the input size of the space.
        class_labels: Label of each class, in the order of the logits; None gives "class 0", "class 1", ...

    Raises:
        ArchError: The arch does not belong to the space.
        WeightsError: The file cannot be read, or its weights do not fit the network.
    """
    arch = space.canonical(arch)
    # `space.freeze` would validate the arch a second time.
    model = (
        space.build(FrozenPicker(arch)).eval() if weights is None else load_weights(space, arch, weights, key_format or "nni")
    )
    size = space.input_size
    own = None if weights is None else own_preprocess(key_format, settings, size)
    used = preprocess or own or Preprocess(input_size=size, resize=usual_resize(size))
    notes = []
    if weights is not None:
        notes.append(preprocess_note(key_format, used, own, given=preprocess is not None))
        notes.append(label_note(name, space.num_labels) if class_labels is None else None)
    return ModelSource(
        name=name,
        model=model,
        space=space_name(space),
        settings=settings,
        arch=arch,
        preprocess=used,
        labels=class_labels or tuple(f"class {i}" for i in range(space.num_labels)),
        provenance=Provenance(weights=weights_origin(pretrained=False, weights=weights)),
        notes=tuple(filter(None, notes)),
    )


def package_source(package: Package) -> ModelSource:
    """Returns the model of a package, to export it again in other formats or with another version of torch.

    The PyTorch module is rebuilt from the space, settings, arch and weights of the package.

    Raises:
        PackageError: A file of the package was changed, or its space cannot be made here, see `rebuild_model`.
        WeightsError: The weights do not fit the network.
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
        temperature=manifest.temperature,
        accuracy=package.accuracy,
    )


def with_data(source: ModelSource, *, labels: Sequence[str] | None, preprocess: Preprocess | None) -> ModelSource:
    """Returns `source` with other labels or another preprocessing, and without the figures that then no longer hold.

    Args:
        source: The model to export.
        labels: Label of each class, in the order of the logits; None keeps those of `source`.
        preprocess: The preprocessing; None keeps that of `source`.

    Raises:
        ExportError: The number of labels is not the number of classes of the model.
    """
    if labels is not None and tuple(labels) != tuple(source.labels):
        if len(labels) != len(source.labels):
            raise ExportError(f"{len(labels)} labels are given, and {source.name} has {len(source.labels)} classes")
        source = replace(source, labels=tuple(labels), accuracy=None)
    if preprocess is not None and preprocess != source.preprocess:
        provenance = source.provenance.model_copy(update={"metric": None})
        source = replace(source, preprocess=preprocess, provenance=provenance, temperature=None, accuracy=None)
    return source
