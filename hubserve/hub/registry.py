"""The model spaces by name (`SPACES`, `get_space`, `space_name`), and `load_model`, which loads the model of a card."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from hubserve.cards.card import Card, load_card
from hubserve.code_source import import_path_of
from hubserve.errors import CardError, SpaceError
from hubserve.find_named import find_named
from hubserve.hub.autoformer import AutoFormer
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.lightspeech import LightSpeech
from hubserve.hub.local_weights import find_in_folder
from hubserve.hub.mobilenet_v3 import MobileNetV3Space
from hubserve.hub.nasbench101 import NasBench101
from hubserve.hub.nasbench201 import NasBench201
from hubserve.hub.nasbert import NASBERT
from hubserve.hub.nasnet_family import DARTS, ENAS, PNAS, AmoebaNet, NASNet
from hubserve.hub.own_space import SPACE_KIND, as_hub_space, own_class
from hubserve.hub.pretrained import load_frozen, load_weights
from hubserve.hub.proxyless import ProxylessNAS
from hubserve.hub.shufflenet import ShuffleNetSpace
from hubserve.similar_names import suggest
from hubserve.space import ModelSpace
from hubserve.typed_arguments import typed_arguments

_OF_CELLS: tuple[type[HubSpace], ...] = (NasBench101, NasBench201, NASNet, ENAS, AmoebaNet, PNAS, DARTS)
"""The spaces whose networks repeat searched cells."""

_OF_BLOCKS: tuple[type[HubSpace], ...] = (ProxylessNAS, MobileNetV3Space, ShuffleNetSpace, AutoFormer)
"""The spaces whose networks are chains of searched blocks."""

_OF_SEQUENCES: tuple[type[HubSpace], ...] = (NASBERT, LightSpeech)
"""The spaces whose networks read sequences of numbers, such as the tokens of a text."""

SPACES: dict[str, type[HubSpace]] = {space.__name__: space for space in (*_OF_CELLS, *_OF_BLOCKS, *_OF_SEQUENCES)}
"""All model spaces of the hub: a dict from the names of the classes to the classes."""


def get_space(name: str, settings: Mapping[str, Any] | None = None, *, refused: str | None = None) -> HubSpace:
    """Returns an instance of the model space `name`.

    Args:
        name: Name of the space, a key of `SPACES`, such as "MobileNetV3Space"; or of an entry point of the group
            "hubserve.spaces", or an import path such as "mypkg.spaces:Small", whose module is then imported.
        settings: Arguments of the space's class, by name; the others have their defaults. None is the same as {}. Texts are
            converted to the types of the settings, see `hubserve.typed_arguments`.
        refused: Reason for which other spaces than those of `SPACES` are not imported; None imports them.

    Raises:
        SpaceError: There is no space of this name, it cannot be imported or may not be, what was imported is no model space (a
            frozen dataclass derived from ModelSpace), the space has no such setting, or the value of a setting is not allowed.
    """
    space = space_class(name, refused=refused)
    known = [field.name for field in fields(space)]  # type: ignore[arg-type]
    unknown = [setting for setting in settings or {} if setting not in known]
    if unknown:
        raise SpaceError(f"{name} has no setting {unknown[0]!r}. {suggest(unknown[0], known)}")
    typed = typed_arguments(space, settings or {}, where=f"{name}: ", error=SpaceError)
    try:
        return space(**typed)
    except TypeError as error:
        raise SpaceError(f"{name}: a setting of {dict(settings or {})} has the wrong type: {error}") from error


def space_class(name: str, *, refused: str | None = None) -> type[HubSpace]:
    """Returns the class of the model space `name`, without an instance; arguments and errors are those of `get_space`.

    For a user's own class that is not derived from HubSpace, it is the class that `as_hub_space` derives from it.
    """
    return as_hub_space(find_named(name, SPACES, SPACE_KIND, refused=refused))


def space_name(space: ModelSpace) -> str:
    """Returns the name by which `get_space` finds the class of a space: its key in `SPACES`, or its import path.

    For a class that cannot be imported elsewhere, such as one of a script or notebook, the name of the class is returned.
    """
    found = own_class(space)
    if SPACES.get(found.__name__) is found:
        return found.__name__
    return import_path_of(found) or found.__name__


def card_space(card: Card) -> HubSpace:
    """Returns an instance of the model space that `card` names, with the settings of the card.

    Raises:
        CardError: The hub has no space of this name, the space has no such setting, or the value of a setting is not allowed.
    """
    try:
        return get_space(card.space, card.settings, refused="a card names a space of the hub")
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
    """Returns the network of a pre-searched model, in eval mode.

    By default the published weights are loaded, and downloaded if they are not on this machine. The method
    `HubSpace.load_searched_model` does the same with the arguments and defaults of NNI.

    Args:
        card: The card of the model, or the name of the card; `hubserve.hub.list_cards()` returns all names.
        pretrained: Whether to load the weights from the card's sources; False initialises them at random.
        weights: Path of a file on this machine from which the weights are loaded, whatever `pretrained` is; or of a folder that
            has the file of one of the card's sources, under its name there. None uses the card's sources.
        key_format: Naming scheme of the tensors in the file, a key of `hubserve.hub.key_formats.KEY_FORMATS`. None takes "nni"
            for a file `weights`, and the scheme that the card states for its source.
        download: Whether weights that are not on this machine may be downloaded.
        progress: Whether to show a progress bar on stderr during a download; none is shown if stderr is not a terminal.

    Raises:
        CardError: There is no card of this name, or its space or one of its settings is unknown or not allowed.
        ArchError: The card's arch is not in its space.
        WeightsUnavailableError: No source provides the weights, or they must be downloaded and this is forbidden.
        WeightsError: The file cannot be read, the names and shapes of its tensors are not those of the network, `key_format` is
            unknown, or a file in the folder `weights` is not the one of the card, by SHA-256, git id or size.
        StorageError: The disk to which the weights are downloaded is full, faulty or not writable.
    """
    card = load_card(card) if isinstance(card, str) else card
    space = card_space(card)
    if weights is not None and weights.is_dir():
        path, source = find_in_folder(card.weights, weights, what=card.name)
        return load_weights(space, card.arch, path, key_format or source.key_format, entry=source.entry, member=source.member)
    if weights is not None:
        return load_weights(space, card.arch, weights, key_format or "nni")
    return load_frozen(space, card, pretrained=pretrained, key_format=key_format, download=download, progress=progress)
