"""Finds the model that a name means: a package folder, an alias, a name or tag in the store, or a pre-searched model.

They are tried in this order.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hubserve.cards.card import list_cards, load_card
from hubserve.errors import ExportError
from hubserve.export.model_source import ModelSource, card_source, package_source
from hubserve.export.named_package import package_named, unknown_model
from hubserve.preprocess import Preprocess


def named_source(
    name: str,
    *,
    random_weights: bool = False,
    weights: Path | None = None,
    key_format: str | None = None,
    class_labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    trusted: bool = False,
) -> ModelSource:
    """Returns the model that `name` means, to export it.

    Warns, with WeightsWarning, if the user's own weights have no labels, or if weights are used with another preprocessing than
    their own, or their own is not known.

    With `weights` or `random_weights`, a name that both a card and the store have means the card.

    Args:
        name: Package folder, alias, name or tag in the store, or pre-searched model.
        random_weights: Whether to use random weights in place of the published ones; for a pre-searched model only.
        weights: File of weights to use in place of the published ones, or a folder that has the file of one of the model's
            sources; for a pre-searched model only. None uses the published ones.
        key_format: Naming scheme of the tensors in the file; None is "nni" for a file, and that of the source for its sources.
        class_labels: Label of each class, in the order of the logits; None takes those of the model.
        preprocess: Preprocessing of the model; None takes that of the model.
        trusted: Whether the model space that a package names is imported even if this user did not write the package.

    Raises:
        ExportError: The name means a package, and other weights are given; the number of labels is not that of the classes; or
            a preprocessing is given for a pre-searched model that takes no images.
        OtherInputsError: A preprocessing is given for a package whose model takes no images.
        ModelNotFoundError: No model has that name, or the version of an alias was deleted.
        PackageError: The package was changed or cannot be rebuilt, or `name` has a "/" and is not a package folder.
        WeightsError: The weights cannot be downloaded or read, or do not fit the network.
        StoreError: The store, or the file of aliases (AliasError), cannot be read.
    """
    is_card, other_weights = name in list_cards(), weights is not None or random_weights
    # A package has its own weights, so only the card of that name can be meant if others are given.
    package = None if is_card and other_weights else package_named(name)
    if package is not None and other_weights:
        raise ExportError(f"{name} is a package, which has its own weights: give neither a file of weights nor random weights")
    if package is not None:
        return package_source(replace(package, trusted=trusted), class_labels=class_labels, preprocess=preprocess)
    if not is_card:
        raise unknown_model(name)
    return card_source(
        load_card(name),
        pretrained=not random_weights,
        weights=weights,
        key_format=key_format,
        class_labels=class_labels,
        preprocess=preprocess,
    )


def model_exists(name: str) -> bool:
    """Returns whether `name` means a package folder, an alias, a model in the store, or a pre-searched model.

    Raises:
        PackageError: `name` has a "/" and is not a package folder, or the package is incomplete.
        ModelNotFoundError: `name` is an alias whose version was deleted.
        StoreError: The store, or the file of aliases (AliasError), cannot be read.
    """
    return name in list_cards() or package_named(name) is not None
