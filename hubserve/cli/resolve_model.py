"""Resolves a MODEL argument, in this order: a package folder, an alias, a name or tag in the store, a pre-searched model."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hubserve.cards.card import list_cards, load_card
from hubserve.export.model_source import card_source
from hubserve.export.named_source import package_named, unknown_model
from hubserve.export.write_package import write_package
from hubserve.package.package import Package


@contextmanager
def open_package(name: str, *, trusted: bool = False) -> Iterator[Package]:
    """The package that `name` stands for; the module says in which order names are looked for.

    A card is exported into a temporary folder, with its published weights.

    Args:
        name: A package folder, an alias, a name or tag in the store, or a pre-searched model.
        trusted: Whether formats that are programs are loaded even where this user did not write them.

    Raises:
        ModelNotFoundError: none of these; the message has the nearest names.
    """
    found = package_named(name)
    if found is not None:
        yield replace(found, trusted=trusted)
        return
    if name not in list_cards():
        raise unknown_model(name)
    with tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        yield write_package(card_source(load_card(name)), Path(folder) / name)
