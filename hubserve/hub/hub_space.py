"""`HubSpace`: a model space with an input size, a paper, and pre-searched models."""

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
        paper: Address of the paper that published the space.
        default_input_size: Height and width, in pixels, of the images for which the space was made.
        num_labels: Number of classes.
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
        """Height and width, in pixels, of the images for which these settings are made."""
        return self.default_input_size

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """Name -> cell of an arch, as a graph to draw; empty where the networks are chains of blocks.

        Raises:
            ArchError: `arch` is not valid. A space without cells does not look at it.
        """
        return {}

    @classmethod
    def load_searched_model(
        cls, name: str, pretrained: bool = False, download: bool = False, progress: bool = True
    ) -> nn.Module:
        """A pre-searched model of this space, frozen, in eval mode, with the signature of NNI's method of this name.

        NNI's defaults neither load nor download weights; those of `hubserve.hub.load_model`, which has more arguments, do.

        Args:
            name: Name of a card (`hubserve.hub.list_cards()`).
            pretrained: Whether to load the published weights; False gives fresh, random ones.
            download: Whether weights that are not on this machine may be downloaded.
            progress: Whether to show a progress bar while downloading, where stderr is a terminal.

        Raises:
            CardError: There is no such card, or it belongs to another space.
            WeightsUnavailableError: No source has the weights, or only over a network that must not be asked.
            WeightsError: The file cannot be read, or its tensors do not fit the model.
        """
        card = load_card(name)
        if card.space != cls.__name__:
            raise CardError(f"{name} is a model of {card.space}, not of {cls.__name__}: call {card.space}.load_searched_model")
        return load_frozen(cls(**card.settings), card, pretrained=pretrained, download=download, progress=progress)
