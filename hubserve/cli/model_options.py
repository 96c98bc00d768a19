"""Resolves the options of a command to the model to export, or the arch to draw."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubserve.bounded_files import read_bounded_text
from hubserve.cards.card import list_cards
from hubserve.cards.labels import labels as class_names
from hubserve.errors import ArchError, ExportError
from hubserve.export.labels_and_preprocessing import read_label_file, read_preprocess_file
from hubserve.export.model_source import ModelSource, arch_source
from hubserve.export.named_package import package_named, unknown_model
from hubserve.export.named_source import named_source
from hubserve.hub import HubSpace, get_space, load_card
from hubserve.hub.package_space import package_space
from hubserve.hub.registry import card_space
from hubserve.preprocess import Preprocess


def source_of(
    model: str | None,
    *,
    space: str | None,
    arch: Path | None,
    settings: Path | None,
    weights: Path | None,
    key_format: str | None,
    random_weights: bool,
    labels: Path | None = None,
    preprocess: Path | None = None,
    like: str | None = None,
    trusted: bool = False,
) -> ModelSource:
    """Returns the model that the options of `hubserve export` name: either `model`, or the arch `arch` of `space`.

    Args:
        model: Package folder, alias, name or tag in the store, or pre-searched model; None takes `space` and `arch`.
        space: Name or import path of a model space.
        arch: JSON file with the chosen value of each choice, by label.
        settings: JSON file with settings of the space; None takes the defaults.
        weights: File of weights; None takes the published ones of a pre-searched model, and random ones for an arch.
        key_format: Naming scheme of the tensors in that file; None is "nni".
        random_weights: Whether a pre-searched model gets random weights.
        labels: Text file with one label per line; None takes those of `like`, or of the model.
        preprocess: JSON file with the preprocessing; None takes that of `like`, or of the model.
        like: Package or pre-searched model whose labels and preprocessing are used; None uses no other model's.
        trusted: Whether the model space that a package names is imported even if this user did not write the package.

    Raises:
        ExportError: The options exclude each other, or one is missing, has no effect, or names a file that is not allowed.
        ModelNotFoundError: No model has the name `model` or `like`.
        PackageError: A package is incomplete, was changed or cannot be rebuilt, or a path is not a package.
        OtherInputsError: `like`, or a model with `preprocess`, takes no images.
        SpaceError: There is no such space or setting.
        ArchError: A JSON file cannot be read, or the arch does not belong to the space.
        WeightsError: The weights cannot be downloaded or read, or do not fit the network.
    """
    if (model is None) == (space is None) or (space is None) != (arch is None):
        raise ExportError("name a pre-searched model, or give --space together with --arch")
    if weights is not None and random_weights:
        raise ExportError("--weights and --random-weights exclude each other")
    # An option without effect is refused, because the user expects an effect.
    if settings is not None and space is None:
        raise ExportError("--settings goes with --space: a pre-searched model has settings of its own")
    if key_format is not None and weights is None:
        raise ExportError("--key-format names the scheme of the tensor names in the file of --weights")
    if like is not None and labels is not None and preprocess is not None:
        raise ExportError("--like has no effect beside --labels and --preprocess")
    class_labels, used = data_of(like) if like is not None else (None, None)
    class_labels = read_label_file(labels) if labels is not None else class_labels
    used = read_preprocess_file(preprocess) if preprocess is not None else used
    if model is not None:
        return named_source(
            model,
            random_weights=random_weights,
            weights=weights,
            key_format=key_format,
            trusted=trusted,
            class_labels=class_labels,
            preprocess=used,
        )
    given = read_json(settings) if settings is not None else {}
    built = get_space(space or "", given)
    name = arch.stem.lower() if arch is not None else ""
    if class_labels is not None and len(class_labels) != built.num_labels:
        raise ExportError(f"{len(class_labels)} labels are given, and the space has num_labels = {built.num_labels}")
    return arch_source(
        built,
        given,
        read_json(arch),
        name=name,
        weights=weights,
        key_format=key_format,
        preprocess=used,
        class_labels=class_labels,
    )


def data_of(name: str) -> tuple[tuple[str, ...], Preprocess]:
    """Returns the labels and the preprocessing of the package or pre-searched model `name`, without loading its weights.

    Raises:
        ModelNotFoundError: No model has that name.
        PackageError: `name` is a path that is not a package, or the package is incomplete or was changed.
        ExportError: An ONNX file of the package is not in that format.
        OtherInputsError: The model takes no images.
    """
    package = package_named(name)
    if package is not None:
        package.verify()
        return tuple(package.labels), package.manifest.image_preprocess
    if name not in list_cards():
        raise unknown_model(name)
    card = load_card(name)
    return class_names(card.classes), card.image_preprocess


def drawn_arch(
    model: str | None, *, space: str | None, arch: Path | None, settings: Path | None, trusted: bool = False
) -> tuple[str, HubSpace, dict[str, Any]]:
    """Returns the title, the space and the arch that the options of `hubserve draw` name; an arch in a file is not checked.

    The title is the name of the model, of the JSON file without its ending, or of the class of the space.

    Args:
        model: Package folder, alias, name or tag in the store, or pre-searched model; None takes `space`.
        space: Name or import path of a model space.
        arch: JSON file with the chosen value of each choice, by label; None draws a random arch.
        settings: JSON file with settings of the space; None takes the defaults.
        trusted: Whether the model space that a package names is imported even if this user did not write the package.

    Raises:
        ExportError: The options exclude each other, or neither `model` nor `space` is given.
        ModelNotFoundError: No model has that name.
        PackageError: The package is incomplete, or the module of its space is not found or may not be imported; or `model` is a
            path that is not a package.
        StoreError: The store, or the file of aliases (AliasError), cannot be read.
        SpaceError: There is no such space or setting, or the module of the space raises an error when it is imported.
        ArchError: A JSON file cannot be read, or is not an object.
    """
    if (model is None) == (space is None) or (model is not None and (arch is not None or settings is not None)):
        raise ExportError("name a pre-searched model, or give --space, with --arch for one arch of it")
    package = None if model is None else package_named(model)
    if package is not None:
        return package.manifest.name, package_space(replace(package, trusted=trusted)), package.manifest.arch
    if model is not None:
        if model not in list_cards():
            raise unknown_model(model)
        card = load_card(model)
        return card.name, card_space(card), card.arch
    built = get_space(space or "", read_json(settings))
    return (arch.stem, built, read_json(arch)) if arch is not None else (type(built).__name__, built, built.random())


def read_json(path: Path | None) -> dict[str, Any]:
    """Returns the object in a JSON file, or an empty one if `path` is None.

    Raises:
        ArchError: The file cannot be read as JSON, or holds something else than an object.
    """
    if path is None:
        return {}
    try:
        found = json.loads(read_bounded_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ArchError(f"cannot read {path} as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ArchError(f"{path} holds a {type(found).__name__}; expected an object: name -> value")
    return found
