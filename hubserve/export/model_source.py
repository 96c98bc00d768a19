"""Models to export (`ModelSource`), made from a card, from an arch of a model space, or from another package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from hubserve.bounded_files import read_bounded_text
from hubserve.cards.card import Card, Metric
from hubserve.cards.labels import labels
from hubserve.errors import ExportError, OtherInputsError
from hubserve.export.labels_and_preprocessing import (
    own_preprocess,
    placeholder_labels,
    usual_resize,
    warn_of_missing_labels,
    warn_of_other_preprocessing,
    warn_of_unknown_preprocessing,
)
from hubserve.export.rebuild_model import rebuild_model
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.pretrained import load_weights, weights_origin
from hubserve.hub.registry import card_space, load_model, space_name
from hubserve.package.accuracy_report import AccuracyReport
from hubserve.package.manifest import Provenance
from hubserve.package.package import Package
from hubserve.package.signature import ModelSignature
from hubserve.package.text_tokenizer import TOKENIZER
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
        preprocess: Preprocessing that turns an image into the network's input; None if the inputs are no images.
        labels: Label of each class, in the order of the logits; empty if the network is no classifier.
        provenance: Paper, licence and published accuracy of the model, and the origin of its weights.
        temperature: Number by which logits are divided before the softmax; None leaves them as they are.
        accuracy: Accuracy on test images or texts; None where it was not measured.
        signature: Inputs and outputs of a network that is no image classifier; None for an image classifier.
        tokenizer: Content of tokenizer.json of a text classifier; None where texts are not tokenized by the package.
    """

    name: str
    model: nn.Module
    space: str
    settings: Mapping[str, Any]
    arch: Mapping[str, Any]
    preprocess: Preprocess | None
    labels: Sequence[str]
    provenance: Provenance
    temperature: float | None = None
    accuracy: AccuracyReport | None = None
    signature: ModelSignature | None = None
    tokenizer: str | None = None

    @property
    def image_preprocess(self) -> Preprocess:
        """The preprocessing of images.

        Raises:
            OtherInputsError: The network is no image classifier.
        """
        if self.preprocess is None:
            inputs = "other inputs" if self.signature is None else self.signature.described
            raise OtherInputsError(f"{self.name} is no image classifier: it takes {inputs}")
        return self.preprocess


def card_source(
    card: Card,
    *,
    pretrained: bool = True,
    weights: Path | None = None,
    key_format: str | None = None,
    download: bool = True,
    progress: bool = True,
    class_labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
) -> ModelSource:
    """Returns the model of a card to export, with its published weights, the weights in a file, or random ones.

    Warns, with WeightsWarning, if the weights are those of another preprocessing than they are used with, or if nobody says
    with which one they were trained.

    Args:
        card: Card of the model.
        pretrained: Whether to load weights; with False and no `weights`, they are random.
        weights: File of weights that is used in place of the published ones, or a folder that has the file of one of the card's
            sources; None uses the published ones.
        key_format: Naming scheme of the tensors in the file; None is "nni" for a file, and the card's own for its sources.
        download: Whether the published weights may be downloaded.
        progress: Whether to show a progress bar while downloading.
        class_labels: Label of each class, in the order of the logits; None takes the card's.
        preprocess: Preprocessing of the model; None takes that of the key format if it has one and the card's sources do not
            have this key format, otherwise the card's.

    Raises:
        CardError: The space of the card, or one of its settings, does not exist.
        ArchError: The arch of the card does not belong to its space.
        WeightsError: The weights cannot be downloaded or read, or do not fit the network.
        ExportError: The number of labels is not that of the classes, or a preprocessing is given and the inputs are no images.
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
    if card.preprocess is None:
        names = None if class_labels is None else tuple(class_labels)
        found = _tensor_source(card_space(card), card.settings, card.arch, model, card.name, weights, preprocess, names)
        return replace(found, provenance=provenance)
    own: Preprocess | None = card.image_preprocess if published else None
    used = card.image_preprocess
    if weights is not None:
        own = own_preprocess(key_format, card.settings, card.image_preprocess.input_size)
        if key_format not in {None, *(source.key_format for source in card.weights)}:
            used = own or used
            if preprocess is None:
                warn_of_unknown_preprocessing(key_format, used, own)
    source = ModelSource(
        name=card.name,
        model=model,
        space=card.space,
        settings=card.settings,
        arch=card.arch,
        preprocess=used,
        labels=labels(card.classes),
        provenance=provenance,
    )
    other = _evaluated_with(card, preprocess) if published else None
    if other is None:
        return _with_data(source, labels=class_labels, preprocess=preprocess, own=own)
    found = _with_data(source, labels=class_labels, preprocess=preprocess, own=None)
    return replace(found, provenance=provenance.model_copy(update={"metric": other}))


def _evaluated_with(card: Card, preprocess: Preprocess | None) -> Metric | None:
    """Returns the accuracy that was published for a card's weights with this other preprocessing; None if there is none."""
    if preprocess is None or card.metric is None:
        return None
    for other in card.other_evaluations:
        with_filter = card.image_preprocess.model_copy(update={"interpolation": other.interpolation})
        if other.interpolation is not None and preprocess == with_filter:
            return Metric(dataset=card.metric.dataset, top1=other.top1)
    return None


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

    Warns, with WeightsWarning, if the weights in a file are without labels, if they are those of another preprocessing than
    they are used with, or if nobody says with which one they were trained.

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
        ExportError: The networks take no images, and a preprocessing is given, or labels that are not as many as the classes.
            For networks that take images, the number of labels is not checked here.
    """
    arch = space.canonical(arch)
    # `space.freeze` would validate the arch a second time.
    model = (
        space.build(FrozenPicker(arch)).eval() if weights is None else load_weights(space, arch, weights, key_format or "nni")
    )
    if not space.takes_images:
        return _tensor_source(space, settings, arch, model, name, weights, preprocess, class_labels)
    size = space.input_size
    own = None if weights is None else own_preprocess(key_format, settings, size)
    used = preprocess or own or Preprocess(input_size=size, resize=usual_resize(size))
    if weights is not None:
        if preprocess is None:
            warn_of_unknown_preprocessing(key_format, used, own)
        elif own is not None:
            warn_of_other_preprocessing(name, used, own)
        if class_labels is None:
            warn_of_missing_labels(name, space.num_labels)
    return ModelSource(
        name=name,
        model=model,
        space=space_name(space),
        settings=settings,
        arch=arch,
        preprocess=used,
        labels=class_labels or placeholder_labels(space.num_labels),
        provenance=Provenance(weights=weights_origin(pretrained=False, weights=weights)),
    )


def _tensor_source(
    space: HubSpace,
    settings: Mapping[str, Any],
    arch: Mapping[str, Any],
    model: nn.Module,
    name: str,
    weights: Path | None,
    preprocess: Preprocess | None,
    class_labels: tuple[str, ...] | None,
) -> ModelSource:
    """Returns the model of an arch whose inputs are no images; the arguments and exceptions are those of `arch_source`."""
    signature = ModelSignature(space.inputs, space.outputs)
    if preprocess is not None:
        raise ExportError(f"{name} takes {signature.described}; a preprocessing is for images")
    if class_labels is not None and len(class_labels) != signature.classes:
        raise ExportError(f"{len(class_labels)} labels are given, and {name} has {signature.classes} classes")
    return ModelSource(
        name=name,
        model=model,
        space=space_name(space),
        settings=settings,
        arch=arch,
        preprocess=None,
        labels=class_labels or placeholder_labels(signature.classes),
        provenance=Provenance(weights=weights_origin(pretrained=False, weights=weights)),
        signature=signature,
    )


def package_source(
    package: Package, *, class_labels: Sequence[str] | None = None, preprocess: Preprocess | None = None
) -> ModelSource:
    """Returns the model of a package, to export it again in other formats or with another version of torch.

    The PyTorch module is rebuilt from the space, settings, arch and weights of the package. Warns, with WeightsWarning, if the
    weights are the user's own and have no labels, or if `preprocess` is another preprocessing than that of the package.

    Args:
        package: The package.
        class_labels: Label of each class, in the order of the logits; None keeps those of the package.
        preprocess: Preprocessing of the model; None keeps that of the package.

    Raises:
        PackageError: A file of the package was changed, or its space cannot be made here, see `rebuild_model`.
        WeightsError: The weights do not fit the network.
        ExportError: The number of labels is not the number of classes of the model, or an ONNX file is not in that format.
        OtherInputsError: A preprocessing is given, and the model takes no images.
    """
    package.verify()
    manifest = package.manifest
    names = tuple(package.labels)
    if class_labels is None and manifest.provenance.weights == "local" and names == placeholder_labels(len(names)):
        warn_of_missing_labels(manifest.name, len(names))
    source = ModelSource(
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
        signature=None if manifest.classifies_images else ModelSignature.of(manifest),
        tokenizer=read_bounded_text(package.path / TOKENIZER) if TOKENIZER in manifest.files else None,
    )
    own = None if manifest.provenance.weights == "random" else manifest.preprocess
    return _with_data(source, labels=class_labels, preprocess=preprocess, own=own)


def _with_data(
    source: ModelSource, *, labels: Sequence[str] | None, preprocess: Preprocess | None, own: Preprocess | None
) -> ModelSource:
    """Returns `source` with other labels or another preprocessing, and without the figures that then no longer hold.

    Args:
        source: The model to export.
        labels: Label of each class, in the order of the logits; None keeps those of `source`.
        preprocess: The preprocessing; None keeps that of `source`.
        own: The preprocessing that the weights were trained with, of which `preprocess` is warned of if it differs; None if it
            is not known.

    Raises:
        ExportError: The number of labels is not the number of classes of the model.
        OtherInputsError: A preprocessing is given, and the model takes no images.
    """
    if labels is not None and tuple(labels) != tuple(source.labels):
        if len(labels) != len(source.labels):
            raise ExportError(f"{len(labels)} labels are given, and {source.name} has {len(source.labels)} classes")
        source = replace(source, labels=tuple(labels), accuracy=None)
    if preprocess is not None and preprocess != source.image_preprocess:
        if own is not None:
            warn_of_other_preprocessing(source.name, preprocess, own)
        provenance = source.provenance.model_copy(update={"metric": None})
        source = replace(source, preprocess=preprocess, provenance=provenance, temperature=None, accuracy=None)
    return source
