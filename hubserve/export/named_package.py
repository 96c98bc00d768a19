"""Finds the package that a name means, without torch: a package folder, an alias, or a name or tag in the store."""

from pathlib import Path

from hubserve import store
from hubserve.cards.card import list_cards
from hubserve.errors import ModelNotFoundError
from hubserve.package.package import MANIFEST, Package, read_package
from hubserve.similar_names import suggest
from hubserve.storage_faults import is_there
from hubserve.store import aliases


def package_named(name: str) -> Package | None:
    """Returns the package in the folder `name`, or that of the alias, name or tag `name` in the store; None if there is none.

    Raises:
        PackageError: `name` has a "/" and is not a package folder, or the package is incomplete.
        ModelNotFoundError: `name` is an alias whose version was deleted.
        StoreError: The store, or the file of aliases (AliasError), cannot be read.
    """
    if is_there(Path(name) / MANIFEST) or "/" in name:
        return read_package(Path(name))
    try:
        return aliases.resolve(name).package
    except ModelNotFoundError:
        if name in aliases.list_aliases():
            raise
        return None


def unknown_model(name: str) -> ModelNotFoundError:
    """Returns the error, to be raised, for a name that means no model; its message suggests similar names."""
    return ModelNotFoundError(
        f"{name!r} is no package folder, no alias, no model in the store, and no card. {suggest(name, known_names())}"
    )


def known_names() -> list[str]:
    """Returns the names of all cards, aliases and models in the store, and the tags of all versions in it."""
    models = store.list_models()
    names = {*list_cards(), *aliases.list_aliases(), *(model.name for model in models)}
    return [*names, *(model.tag for model in models)]
