"""What the spaces of the hub have beyond a plain model space: an input size, a paper, and pre-searched models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from hubserve.cards.card import load_card
from hubserve.errors import CardError, SpaceError
from hubserve.hub.network_outline import CellOutline
from hubserve.hub.pretrained import load_frozen
from hubserve.space import ModelSpace


class HubSpace(ModelSpace):
    """A model space of the hub.

    Attributes:
        paper: where the space was published.
        default_input_size: height and width, in pixels, of the pictures it was made for.
        num_labels: classes; a setting of the space, or what its data set has.
    """

    paper: ClassVar[str]
    default_input_size: ClassVar[int] = 224
    num_labels: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(1, "num_labels")

    def _check_at_least(self, least: int, *settings: str) -> None:
        """Raises SpaceError for a setting below `least`."""
        for setting in settings:
            if getattr(self, setting) < least:
                raise SpaceError(f"{type(self).__name__}: {setting} = {getattr(self, setting)} must be at least {least}")

    @property
    def input_size(self) -> int:
        """Height and width, in pixels, of the pictures that these settings are made for."""
        return self.default_input_size

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """The cells of an arch as graphs, by name, for people to look at; none where the space is a chain of blocks.

        Raises:
            ArchError: `arch` is not valid. A space without cells does not look at it.
        """
        return {}

    @classmethod
    def load_searched_model(
        cls, name: str, pretrained: bool = False, download: bool = False, progress: bool = True
    ) -> nn.Module:
        """A pre-searched model of this space, frozen, in eval mode: NNI's call, under NNI's names.

        Args:
            name: of a card, see `hubserve.hub.list_cards()`.
            pretrained: load the published weights instead of fresh ones.
            download: allow the network where the weights are not on this machine.
            progress: show a progress bar while downloading.

        Raises:
            CardError: no such card, or it belongs to another space.
            WeightsError: the weights cannot be had or do not fit.
        """
        card = load_card(name)
        if card.space != cls.__name__:
            raise CardError(f"{name} is a model of {card.space}, not of {cls.__name__}: call {card.space}.load_searched_model")
        space = cls(**card.settings)
        return load_frozen(
            space, card, pretrained=pretrained, weights=None, key_format=None, download=download, progress=progress
        )
