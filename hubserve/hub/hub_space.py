"""`HubSpace`, the base class of the model spaces of the hub: a space with a paper, an input size and pre-searched models."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from hubserve.cards.card import load_card
from hubserve.errors import CardError, SpaceError
from hubserve.hub.network_outline import CellOutline
from hubserve.hub.pretrained import load_frozen
from hubserve.space import ModelSpace


class HubSpace(ModelSpace):
    """The base class of the model spaces of the hub.

    Attributes:
        paper: URL of the paper that published the space; None without one.
        default_input_size: Height and width, in pixels, of the images for which the space was made.
        num_labels: Number of classes that the networks predict; at least 1.

    Raises:
        SpaceError: `num_labels` is below 1.
    """

    paper: ClassVar[str | None] = None
    default_input_size: ClassVar[int] = 224
    num_labels: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(1, "num_labels")

    def _check_at_least(self, least: int, *settings: str) -> None:
        """Raises SpaceError if the value of one of the attributes named by `settings` is below `least`."""
        for setting in settings:
            if getattr(self, setting) < least:
                raise SpaceError(f"{type(self).__name__}: {setting} = {getattr(self, setting)} must be at least {least}")

    @property
    def input_size(self) -> int:
        """Height and width, in pixels, of the images that suit the settings of this space; `default_input_size` by default."""
        return self.default_input_size

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """Returns the cells of the network of `arch`, by name, as graphs from which drawings are made.

        The dict is empty for spaces whose networks do not have cells, such as MobileNetV3Space.

        Raises:
            ArchError: `arch` is not in the space. A space without cells does not check it.
        """
        return {}

    @classmethod
    def load_searched_model(
        cls, name: str, pretrained: bool = False, download: bool = False, progress: bool = True
    ) -> nn.Module:
        """Returns the network of a pre-searched model of this space, in eval mode.

        The arguments and defaults are those of NNI's method of this name. By default the weights are random;
        `hubserve.hub.load_model` has more arguments, and loads the published weights by default.

        Args:
            name: Name of the model's card; `hubserve.hub.list_cards()` returns all names.
            pretrained: Whether to load the weights from the card's sources; False initialises them at random.
            download: Whether weights that are not on this machine may be downloaded.
            progress: Whether to show a progress bar on stderr during a download; none is shown if stderr is not a terminal.

        Raises:
            CardError: There is no card of this name, or it belongs to another space.
            WeightsUnavailableError: No source provides the weights, or they must be downloaded and this is forbidden.
            WeightsError: The file cannot be read, or the names and shapes of its tensors are not those of the network.
            StorageError: The disk to which the weights are downloaded is full, faulty or not writable.
        """
        card = load_card(name)
        if card.space != cls.__name__:
            raise CardError(f"{name} is a model of {card.space}, not of {cls.__name__}: call {card.space}.load_searched_model")
        return load_frozen(cls(**card.settings), card, pretrained=pretrained, download=download, progress=progress)
