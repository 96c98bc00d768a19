"""`ElasticSpace`: the archs of a model space that are no larger than the arch of a trained model."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

from torch import nn

from hubserve.errors import SpaceError
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.mobilenet_v3 import MobileNetV3Space
from hubserve.hub.proxyless import OPERATIONS, ProxylessNAS
from hubserve.space import Arch, ModelSpace, Picker
from hubserve.space.picker import depth_candidates, is_fixed

T = TypeVar("T")

OPERATION_SIZES: dict[type[HubSpace], Mapping[str, tuple[int, ...]]] = {ProxylessNAS: OPERATIONS, MobileNetV3Space: {}}
"""Spaces whose networks can be cut, with the sizes of the candidates of their layer choices: an operation is no larger than
another one if none of its sizes is larger."""


@dataclass(frozen=True)
class ElasticSpace(ModelSpace):
    """The archs of a space in which no kernel, expansion, width or depth is larger than in one arch, the largest of them.

    Choices between other things than numbers and sized operations, such as squeeze-and-excite, keep the answer of that arch.
    Archs of this space are archs of `inner`.

    Args:
        inner: The space, whose networks can be cut: a smaller one is a part of the weights of a larger one. These are
            ProxylessNAS and MobileNetV3Space.
        start: (label, answer) of the largest arch; `ElasticSpace.of` makes it from a dict.

    Raises:
        SpaceError: Networks of `inner` cannot be cut: it is another space, or a subclass, whose networks may be different.
        ArchError: The largest arch is not in `inner`.
    """

    inner: HubSpace
    start: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_can_be_cut(type(self.inner))
        self.inner.validate(self.largest)

    @classmethod
    def of(cls, inner: HubSpace, arch: Mapping[str, Any]) -> Self:
        """Returns the archs of `inner` that are no larger than `arch`.

        Raises:
            SpaceError: Networks of `inner` cannot be cut.
            ArchError: `arch` is not in `inner`.
        """
        check_can_be_cut(type(inner))
        return cls(inner, tuple(inner.canonical(arch).items()))

    @property
    def largest(self) -> Arch:
        """The arch that no other one exceeds."""
        return dict(self.start)

    @cached_property
    def smallest(self) -> Arch:
        """The arch with the smallest candidate of each choice."""
        return self.arch_from(lambda choice: min(choice.candidates, key=self._size))

    def build(self, pick: Picker) -> nn.Module:
        return self.inner.build(_NoLargerPicker(pick, self.largest, OPERATION_SIZES[type(self.inner)]))

    def _size(self, candidate: Any) -> tuple[float, ...]:
        found = OPERATION_SIZES[type(self.inner)].get(candidate) if isinstance(candidate, str) else (candidate,)
        return tuple(found or ())


def check_can_be_cut(space: type[HubSpace]) -> None:
    """Raises `SpaceError` if the networks of a space cannot be cut; the message names the spaces that work."""
    if space not in OPERATION_SIZES:
        names = ", ".join(sorted(known.__name__ for known in OPERATION_SIZES))
        raise SpaceError(f"networks of {space.__name__} cannot be cut to smaller ones; models of these spaces can: {names}")


class _NoLargerPicker(Picker):
    """Passes to another picker those candidates of each choice that are no larger than the answer in an arch."""

    def __init__(self, pick: Picker, largest: Arch, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self._pick = pick
        self._largest = largest
        self._sizes = sizes

    def __call__(self, label: str, candidates: Any, *, weights: Sequence[float] | None = None) -> Any:
        return candidates if is_fixed(candidates) else self._pick(label, self._no_larger(label, candidates))

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        return self._pick.layer(label, {name: candidates[name] for name in self._no_larger(label, tuple(candidates))})

    def inputs(self, label: str, n_candidates: int, n_chosen: int | None = 1) -> list[int]:
        return self._pick.inputs(label, n_candidates, n_chosen)

    def repeat(
        self, label: str, depth: int | Collection[int], block: Callable[[int], T], *, weights: Sequence[float] | None = None
    ) -> list[T]:
        if isinstance(depth, int):
            return self._pick.repeat(label, depth, block)
        return self._pick.repeat(label, list(self._no_larger(label, depth_candidates(label, depth))), block)

    def _no_larger(self, label: str, candidates: Sequence[Any]) -> tuple[Any, ...]:
        most = self._largest[label]
        return tuple(candidate for candidate in candidates if candidate == most or self._is_smaller(candidate, most))

    def _is_smaller(self, candidate: Any, most: Any) -> bool:
        if isinstance(most, str):
            sizes = self._sizes.get(candidate), self._sizes.get(most)
            return None not in sizes and all(a <= b for a, b in zip(*sizes, strict=True))  # type: ignore[arg-type]
        return bool(candidate <= most)
