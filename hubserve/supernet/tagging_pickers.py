"""The picker that tags each layer with the answer it was built for.

So its tensors have keys of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from hubserve.space import FrozenPicker
from hubserve.supernet.tensor_keys import AnswerTags


class TaggingPicker(FrozenPicker):
    """Answers from an arch, and tags the layers that stand for an answer.

    Args:
        arch: Label -> answer.
        tags: Takes the tags; `network_tensors` reads them.
    """

    def __init__(self, arch: Mapping[str, Any], tags: AnswerTags) -> None:
        super().__init__(arch)
        self._tags = tags

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        return super().layer(label, {name: partial(self._made, label, name, make) for name, make in candidates.items()})

    def edges(
        self, label: str, n_candidates: int, make: Callable[[int], nn.Module], n_chosen: int | None = 1
    ) -> list[tuple[nn.Module, int]]:
        return super().edges(label, n_candidates, lambda i: self._tags.add(make(i), label, i), n_chosen)

    def _made(self, label: str, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        return self._tags.add(make(), label, name)
