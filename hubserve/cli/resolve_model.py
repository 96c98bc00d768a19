"""What a MODEL argument names, in this order: a package folder, an alias, a name or tag in the store, a pre-searched model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hubserve import store
from hubserve.cards.card import list_cards, load_card
from hubserve.errors import ModelNotFoundError, suggest
from hubserve.export.model_source import card_source
from hubserve.export.write_package import write_package
from hubserve.package.package import MANIFEST, Package, read_package
from hubserve.store import aliases


@contextmanager
def open_package(name: str, *, trusted: bool = False) -> Iterator[Package]:
    """The package that `name` means; see the module for the order.

    A card is exported into a temporary folder, with its published weights.

    Args:
        name: see above.
        trusted: see `Package`.

    Raises:
        ModelNotFoundError: none of these; the message has the nearest names.
    """
    found = package_of(name)
    if found is not None:
        yield replace(found, trusted=trusted)
        return
    if name not in list_cards():
        raise unknown_model(name)
    with tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        yield write_package(card_source(load_card(name)), Path(folder) / name)


def package_of(name: str) -> Package | None:
    """The package in the folder `name`, or the version in the store that it means; None where it is neither.

    Raises:
        PackageError: a path that is no package.
    """
    if (Path(name) / MANIFEST).is_file() or "/" in name:
        return read_package(Path(name))
    return _in_store(name)


def unknown_model(name: str) -> ModelNotFoundError:
    """The error for a name that means nothing; it has the nearest names of cards, aliases and the store."""
    return ModelNotFoundError(
        f"{name!r} is no package folder, no alias, no model in the store, and no card. {suggest(name, known_names())}"
    )


def known_names() -> list[str]:
    """What a name may be: the cards, the aliases, and the tags in the store."""
    return [*list_cards(), *aliases.list_aliases(), *(model.tag for model in store.list_models())]


def _in_store(name: str) -> Package | None:
    try:
        return aliases.resolve(name).package
    except ModelNotFoundError:
        if name in aliases.list_aliases():  # It was set, and the version is gone.
            raise
        return None
