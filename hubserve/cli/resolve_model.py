"""Opens the package that the argument MODEL of a command means; a pre-searched model is exported for that."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hubserve.cards.card import list_cards, load_card
from hubserve.export.named_package import package_named, unknown_model
from hubserve.package.package import Package


@contextmanager
def open_package(name: str, *, trusted: bool = False) -> Iterator[Package]:
    """Context manager that yields the package that `name` means.

    A pre-searched model is exported, with its published weights, into a temporary folder that is removed after the block.

    Args:
        name: Package folder, alias, name or tag in the store, or pre-searched model; looked for in this order.
        trusted: Whether formats that are programs are loaded even if this user did not write them.

    Raises:
        ModelNotFoundError: No model has that name; the message suggests similar names.
        PackageError: The package is incomplete, or `name` is a path that is not a package.
        WeightsError: The published weights cannot be downloaded or read.
        ExportError: The pre-searched model cannot be exported, or its logits differ (ParityError).
        StoreError: The store, or the file of aliases (AliasError), cannot be read.
    """
    found = package_named(name)
    if found is not None:
        yield replace(found, trusted=trusted)
        return
    if name not in list_cards():
        raise unknown_model(name)
    # They import torch, which running a package does not need.
    from hubserve.export.model_source import card_source
    from hubserve.export.write_package import write_package

    with tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        yield write_package(card_source(load_card(name)), Path(folder) / name)
