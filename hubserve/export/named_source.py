"""What a name of a model means, in this order: package folder, alias, name or tag in the store, pre-searched model."""

from pathlib import Path

from hubserve import store
from hubserve.cards.card import list_cards, load_card
from hubserve.errors import ExportError, ModelNotFoundError, suggest
from hubserve.export.model_source import ModelSource, card_source, package_source
from hubserve.package.package import MANIFEST, Package, read_package
from hubserve.store import aliases


def named_source(
    name: str, *, random_weights: bool = False, weights: Path | None = None, key_format: str | None = None
) -> ModelSource:
    """What a package of the model `name` is written from.

    Args:
        name: See the module for its meaning.
        random_weights: Fresh weights in place of the published ones; for a pre-searched model only.
        weights: File of weights in place of the published ones; for a pre-searched model only. None takes those published.
        key_format: Naming scheme of the tensors in that file; None expects the model's own names.

    Raises:
        ExportError: The name means a package, and other weights are given.
        ModelNotFoundError: The name means nothing; the message has the nearest names.
    """
    is_card, other_weights = name in list_cards(), weights is not None or random_weights
    # With other weights, a name that a card and the store share means the card: a package has its own weights.
    package = None if is_card and other_weights else package_named(name)
    if package is not None and other_weights:
        raise ExportError(f"{name} is a package, which has its own weights: give neither a file of weights nor random weights")
    if package is not None:
        return package_source(package)
    if not is_card:
        raise unknown_model(name)
    return card_source(load_card(name), pretrained=not random_weights, weights=weights, key_format=key_format)


def model_exists(name: str) -> bool:
    """Whether `name` means a package folder, an alias, a model in the store, or a pre-searched model."""
    return name in list_cards() or package_named(name) is not None


def package_named(name: str) -> Package | None:
    """The package in the folder `name`, or the version in the store that it means; None where it is neither.

    Raises:
        PackageError: A path that is no package.
        ModelNotFoundError: An alias whose version was deleted.
    """
    if (Path(name) / MANIFEST).is_file() or "/" in name:
        return read_package(Path(name))
    try:
        return aliases.resolve(name).package
    except ModelNotFoundError:
        if name in aliases.list_aliases():
            raise
        return None


def unknown_model(name: str) -> ModelNotFoundError:
    """The error for a name that means nothing; its message has the nearest names of cards, aliases and the store."""
    return ModelNotFoundError(
        f"{name!r} is no package folder, no alias, no model in the store, and no card. {suggest(name, known_names())}"
    )


def known_names() -> list[str]:
    """All names with a meaning: the cards, the aliases, and the tags in the store."""
    return [*list_cards(), *aliases.list_aliases(), *(model.tag for model in store.list_models())]
