"""LayerChoice, InputChoice and Repeat: blocks for your own spaces that define a choice of layer, of inputs or of depth."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal, get_args

import torch
from torch import nn

from hubserve.errors import SpaceError
from hubserve.space import Picker

Reduction = Literal["sum", "mean", "concat", "none"]
"""How the chosen tensors are combined: "sum", "mean", "concat" for concatenation along the channels, or "none" for a list."""


def LayerChoice(  # noqa: N802 - NNI's name; it is a function, since a frozen network has the chosen layer without a wrapper.
    pick: Picker, label: str, candidates: Mapping[str, Callable[[], nn.Module]] | Sequence[Callable[[], nn.Module]]
) -> nn.Module:
    """Returns one of several layers, chosen by the search; for the network of a single arch, only the chosen layer is built.

    >>> LayerChoice(pick, "op", {"conv": lambda: nn.Conv2d(8, 8, 3, padding=1), "skip": nn.Identity})

    Args:
        pick: The picker that `ModelSpace.build` receives.
        label: Label of the choice.
        candidates: Name -> function that builds the layer, or a sequence of such functions, whose names are "0", "1", ...

    Raises:
        SpaceError: There are no candidates, or the label is used twice in the space with different ones.
    """
    named = candidates if isinstance(candidates, Mapping) else {str(i): make for i, make in enumerate(candidates)}
    return pick.layer(label, named)


class InputChoice(nn.Module):
    """A module that combines some of its input tensors; the choice of these tensors is part of the search.

    >>> skip = InputChoice(pick, "skip", n_candidates=3, n_chosen=None, reduction="mean")
    >>> y = skip([a, b, c])

    Args:
        pick: The picker that `ModelSpace.build` receives.
        label: Label of the choice.
        n_candidates: Number of tensors to choose from.
        n_chosen: Number of tensors that are chosen; None allows any number, also 0. If none is chosen, the result is a tensor
            of zeros with the shape of the first input tensor.
        reduction: How the chosen tensors are combined: "sum", "mean", or "concat" along the channels. With "none" the result is
            the list of the chosen tensors in their order, also if it has one or none; TorchScript then traces the network.

    Attributes:
        chosen: Indices of the chosen tensors, ascending.

    Shapes:
        forward: n_candidates tensors (batch, channels, ...) -> (batch, channels, ...). With "concat", the result has
            len(chosen) * channels channels, and `channels` if none is chosen.

    Raises:
        SpaceError: The reduction is unknown, `n_candidates` is below 1, or `n_chosen` is neither None nor from 1 to
            `n_candidates`.
    """

    is_separate: Final[bool]

    def __init__(
        self, pick: Picker, label: str, *, n_candidates: int, n_chosen: int | None = 1, reduction: Reduction = "sum"
    ) -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            raise SpaceError(f"InputChoice {label!r}: reduction = {reduction!r} is not one of {get_args(Reduction)}")
        if n_candidates < 1 or (n_chosen is not None and not 1 <= n_chosen <= n_candidates):
            raise SpaceError(f"InputChoice {label!r}: cannot choose n_chosen = {n_chosen} of n_candidates = {n_candidates}")
        self.n_candidates = n_candidates
        self.chosen = pick.inputs(label, n_candidates, n_chosen)
        self.reduction = reduction
        self.is_separate = reduction == "none"
        # `chosen` may be empty, and TorchScript cannot infer the element type of an empty list, so `forward` reads `_read`.
        self.is_empty = not self.chosen
        self._read = self.chosen or [0]

    def forward(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        if self.is_separate:
            # TorchScript omits this branch where the constant is False, and else refuses it, so that the network is traced.
            return [tensors[i] for i in self.chosen]  # type: ignore[return-value]
        if self.is_empty:
            return torch.zeros_like(tensors[0])
        picked = [tensors[i] for i in self._read]
        if self.reduction == "concat":
            return torch.cat(picked, dim=1)
        total = torch.stack(picked).sum(dim=0)
        return total / len(self._read) if self.reduction == "mean" else total


class Repeat(nn.Sequential):
    """A sequence of blocks; the number of blocks is chosen by the search.

    >>> Repeat(pick, "depth", (1, 4), lambda i: nn.Conv2d(8, 8, pick(f"kernel_{i}", (1, 3)), padding="same"))

    Args:
        pick: The picker that `ModelSpace.build` receives.
        label: Label of the choice.
        depth: Candidates for the number of blocks: a tuple (smallest, largest), both included, or a set, list, range or longer
            tuple of candidates. An int is a fixed number of blocks, without a choice.
        block: Function that builds block i from its index i = 0, 1, ...; choices made in it are active only if the chosen
            number of blocks is above i.

    Raises:
        SpaceError: `depth` is none of these, or has a number below 0.
    """

    def __init__(self, pick: Picker, label: str, depth: int | Collection[int], block: Callable[[int], nn.Module]) -> None:
        super().__init__(*pick.repeat(label, depth, block))
