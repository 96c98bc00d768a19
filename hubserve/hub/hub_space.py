"""`HubSpace`, the base class of the model spaces of the hub: a space with a paper, described inputs and pre-searched models."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from hubserve.cards.card import load_card
from hubserve.errors import CardError, SpaceError
from hubserve.hub.network_outline import CellOutline
from hubserve.hub.pretrained import load_frozen
from hubserve.package.example_arrays import example_arrays
from hubserve.package.manifest import InputEntry, OutputEntry
from hubserve.space import ModelSpace


class HubSpace(ModelSpace):
    """The base class of the model spaces of the hub.

    A network of a space is called with one tensor for each entry of `inputs`, in their order, and returns a tensor, or a tuple
    of tensors if `outputs` has several entries. By default, the networks classify images; a space whose networks have other
    inputs or outputs overrides `inputs`, `outputs` and `usual_lengths`.

    Attributes:
        paper: URL of the paper that published the space; None without one.
        default_input_size: Height and width, in pixels, of the images for which the space was made.
        usual_lengths: Length of each axis that has a name, except "batch", for which costs of networks are given, such as
            multiply-accumulates and latency. It is empty if no other axis has a name, as for images.
        num_labels: Number of classes that the networks predict, at least 1; 0 for a space whose networks do not classify, which
            has no setting of this name.

    Raises:
        SpaceError: The setting `num_labels` is below 1.
    """

    paper: ClassVar[str | None] = None
    default_input_size: ClassVar[int] = 224
    usual_lengths: ClassVar[Mapping[str, int]] = {}
    num_labels: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(field.name == "num_labels" for field in fields(self)):  # type: ignore[arg-type]
            self._check_at_least(1, "num_labels")

    @property
    def inputs(self) -> tuple[InputEntry, ...]:
        """The inputs of the networks, in the order of their arguments; by default one batch of images of `input_size`."""
        size = self.input_size
        return (InputEntry(name="images", dtype="float32", shape=("batch", 3, size, size)),)

    @property
    def outputs(self) -> tuple[OutputEntry, ...]:
        """The outputs of the networks in eval mode, in their order; by default the logits of `num_labels` classes.

        An axis that has a name and is not an axis of an input has a length that the network computes.
        """
        return (OutputEntry(name="logits", dtype="float32", shape=("batch", self.num_labels)),)

    @property
    def takes_images(self) -> bool:
        """Whether the only input of the networks is prepared from an image."""
        return [entry.prepared_by for entry in self.inputs] == ["image"]

    def example_inputs(
        self, lengths: Mapping[str, int] | None = None, *, batch: int = 1, seed: int = 0
    ) -> tuple[torch.Tensor, ...]:
        """Returns random values for each of `inputs`, with which a network can be called; see `example_arrays`.

        Args:
            lengths: Length of the axes that have names, except "batch"; those that are missing have the length 16, or the
                nearest one that is allowed. None is the same as {}.
            batch: Number of examples.
            seed: Seed of the random numbers.
        """
        return tuple(torch.from_numpy(array) for array in example_arrays(self.inputs, lengths, batch=batch, seed=seed))

    @property
    def cost_entries(self) -> tuple[InputEntry, ...]:
        """The inputs with which the costs of networks are counted and their latency is measured; by default `inputs`.

        A space whose networks compute a length from values overrides this property and adds inputs that determine the length:
        the values of weights that are not trained say nothing about it, and the meta device has none.
        """
        return self.inputs

    @property
    def cost_lengths(self) -> dict[str, int]:
        """The `usual_lengths`, or the nearest ones that `cost_entries` allow with the settings of this space."""
        limits = {axis: limit for entry in self.cost_entries for axis, limit in entry.axes.items()}
        found = {}
        for axis, length in self.usual_lengths.items():
            smallest, largest = limits.get(axis, (1, None))
            found[axis] = max(smallest, length if largest is None else min(length, largest))
        return found

    def cost_inputs(self, lengths: Mapping[str, int] | None = None, *, batch: int = 1) -> tuple[torch.Tensor, ...]:
        """Returns the tensors with which a network is called to count its operations, on the meta device.

        Args:
            lengths: Length of the axes of `cost_entries` that have names, except "batch"; those that are missing have the
                `cost_lengths`. None is the same as {}.
            batch: Number of examples.
        """
        arrays = example_arrays(self.cost_entries, {**self.cost_lengths, **(lengths or {})}, batch=batch)
        return tuple(torch.from_numpy(array).to("meta") for array in arrays)

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
            ArchError: The card's arch is not in its space.
            SpaceError: The value of a setting of the card is not allowed.
            WeightsUnavailableError: No source provides the weights, or they must be downloaded and this is forbidden.
            WeightsError: The file cannot be read, or the names and shapes of its tensors are not those of the network.
            StorageError: The disk to which the weights are downloaded is full, faulty or not writable.
        """
        card = load_card(name)
        if card.space != cls.__name__:
            raise CardError(f"{name} is a model of {card.space}, not of {cls.__name__}: call {card.space}.load_searched_model")
        return load_frozen(cls(**card.settings), card, pretrained=pretrained, download=download, progress=progress)


def token_input(count: int, *, padding: int | None, longest: int | None, prepared_by: Literal["none", "text"]) -> InputEntry:
    """Returns the description of an input "tokens": integers of sequences of any length, (batch, length).

    Args:
        count: Number of tokens; they are 0 to `count` - 1.
        padding: Token that fills up shorter sequences at the end; None if sequences cannot be filled up.
        longest: Length of the longest sequence; None if there is no limit.
        prepared_by: "text" if the package's tokenizer makes the tokens from texts, "none" if the caller gives them; see
            `InputEntry`.
    """
    return InputEntry(
        name="tokens",
        dtype="int64",
        shape=("batch", "length"),
        prepared_by=prepared_by,
        lowest=0,
        highest=count - 1,
        padding=padding,
        axes={"length": (1, longest)},
    )
