"""The model spaces by name, and `load_model`, which makes the model of a card."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from hubserve.cards.card import Card, load_card
from hubserve.errors import CardError, SpaceError, suggest
from hubserve.hub.autoformer import AutoFormer
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.mobilenet_v3 import MobileNetV3Space
from hubserve.hub.nasbench101 import NasBench101
from hubserve.hub.nasbench201 import NasBench201
from hubserve.hub.nasnet_family import DARTS, ENAS, PNAS, AmoebaNet, NASNet
from hubserve.hub.pretrained import load_frozen, load_weights
from hubserve.hub.proxyless import ProxylessNAS
from hubserve.hub.shufflenet import ShuffleNetSpace

_OF_CELLS: tuple[type[HubSpace], ...] = (NasBench101, NasBench201, NASNet, ENAS, AmoebaNet, PNAS, DARTS)
_OF_BLOCKS: tuple[type[HubSpace], ...] = (ProxylessNAS, MobileNetV3Space, ShuffleNetSpace, AutoFormer)
SPACES: dict[str, type[HubSpace]] = {space.__name__: space for space in (*_OF_CELLS, *_OF_BLOCKS)}


def get_space(name: str, settings: Mapping[str, Any] | None = None) -> HubSpace:
    """The space called `name` with `settings`; other settings have their defaults.

    Raises:
        SpaceError: There is no such space or setting, or a value is not allowed.
    """
    if name not in SPACES:
        raise SpaceError(f"no model space is called {name!r}. {suggest(name, SPACES)}")
    space = SPACES[name]
    known = [field.name for field in fields(space)]  # type: ignore[arg-type]
    unknown = [setting for setting in settings or {} if setting not in known]
    if unknown:
        raise SpaceError(f"{name} has no setting {unknown[0]!r}. {suggest(unknown[0], known)}")
    try:
        return space(**(settings or {}))
    except TypeError as error:
        raise SpaceError(f"{name}: a setting of {dict(settings or {})} has the wrong type: {error}") from error


def card_space(card: Card) -> HubSpace:
    """The space of a card, with the card's settings.

    Raises:
        CardError: The card's space or one of its settings does not exist.
    """
    try:
        return get_space(card.space, card.settings)
    except SpaceError as error:
        raise CardError(f"card {card.name}: {error}") from error


def load_model(
    card: Card | str,
    *,
    pretrained: bool = True,
    weights: Path | None = None,
    key_format: str | None = None,
    download: bool = True,
    progress: bool = True,
) -> nn.Module:
    """A pre-searched model, frozen, in eval mode.

    All ways to such a model end here or have the same arguments and defaults; only `HubSpace.load_searched_model` has NNI's.

    Args:
        card: A card, or the name of one (`list_cards()`).
        pretrained: Whether to load weights; False gives fresh, random ones.
        weights: A file of weights on this machine, which is read in place of the card's sources, whatever `pretrained` says.
        key_format: Naming scheme of the tensors in the file, a key of `hubserve.hub.key_formats.KEY_FORMATS`. None is "nni" for
            `weights`, and what the card says for its sources.
        download: Whether the network may be asked for a file that is not on this machine.
        progress: Whether to show a progress bar while downloading, where stderr is a terminal.

    Raises:
        CardError: There is no such card, or its space or settings do not exist.
        ArchError: The card's arch is not of its space.
        WeightsUnavailableError: No source has the weights, or only over a network that must not be asked.
        WeightsError: The file cannot be read, or its tensors do not fit the model in every name and shape.
    """
    card = load_card(card) if isinstance(card, str) else card
    space = card_space(card)
    if weights is not None:
        return load_weights(space, card.arch, weights, key_format or "nni")
    return load_frozen(space, card, pretrained=pretrained, key_format=key_format, download=download, progress=progress)
