"""The choices that NAS papers name, as blocks for a space of one's own; what they leave in a frozen network is plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import nn

from hubserve.errors import SpaceError
from hubserve.space import Picker

Reduction = Literal["sum", "mean", "concat"]
"""How several chosen inputs become one."""


def LayerChoice(  # noqa: N802 - the field's word; a frozen network has the picked layer in its place, and nothing around it.
    pick: Picker, label: str, candidates: Mapping[str, Callable[[], nn.Module]] | Sequence[Callable[[], nn.Module]]
) -> nn.Module:
    """One of several layers; only the picked one is built.

    >>> LayerChoice(pick, "op", {"conv": lambda: nn.Conv2d(8, 8, 3, padding=1), "skip": nn.Identity})

    Args:
        pick: the picker of `build`.
        label: of the choice.
        candidates: name -> maker. Of a plain list, the names are "0", "1", ...
    """
    named = candidates if isinstance(candidates, Mapping) else {str(i): make for i, make in enumerate(candidates)}
    return pick.layer(label, named)


class InputChoice(nn.Module):
    """Some of several tensors, as one.

    >>> skip = InputChoice(pick, "skip", n_candidates=3, n_chosen=None, reduction="mean")
    >>> y = skip([a, b, c])

    Args:
        pick: the picker of `build`.
        label: of the choice.
        n_candidates: tensors that come in.
        n_chosen: how many are taken; None leaves that open too, and if it is none, zeros of the first one's shape come out.
        reduction: how several become one: their sum, their mean, or side by side along the channels.

    Attributes:
        chosen: their indices, ascending.

    Shapes:
        forward: n_candidates tensors (batch, channels, ...) -> (batch, channels, ...), with "concat" len(chosen) * channels.

    Raises:
        SpaceError: unknown reduction, or more are to be chosen than there are.
    """

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
        # TorchScript cannot tell of what an empty list is a list.
        self.is_empty = not self.chosen
        self._read = self.chosen or [0]

    def forward(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        if self.is_empty:
            return torch.zeros_like(tensors[0])
        picked = [tensors[i] for i in self._read]
        if self.reduction == "concat":
            return torch.cat(picked, dim=1)
        total = torch.stack(picked).sum(dim=0)
        return total / len(self._read) if self.reduction == "mean" else total


class Repeat(nn.Sequential):
    """A block several times in a row, how often being a choice.

    >>> Repeat(pick, "depth", (1, 4), lambda i: nn.Conv2d(8, 8, pick(f"kernel_{i}", (1, 3)), padding="same"))

    Args:
        pick: the picker of `build`.
        label: of the choice.
        depth: (least, most), a longer list of candidates, or a number, which is no choice.
        block: makes the block of place 0, 1, ...; what it asks matters only where the depth reaches it.
    """

    def __init__(self, pick: Picker, label: str, depth: int | Sequence[int], block: Callable[[int], nn.Module]) -> None:
        super().__init__(*pick.repeat(label, depth, block))
