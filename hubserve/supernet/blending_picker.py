"""`BlendingPicker`, the picker that builds all candidates of a choice for a blended network."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

from torch import nn

from hubserve.space.input_choice import inputs_choice
from hubserve.space.picker import depth_candidates, is_fixed
from hubserve.supernet.blend import BlendContext
from hubserve.supernet.blended_layers import MixedLayer, RepeatedBlock, WeightedEdge
from hubserve.supernet.tensor_keys import AnswerTags, TaggingPicker

T = TypeVar("T")


class BlendingPicker(TaggingPicker):
    """A picker that builds all layers of layer choices, layers on all inputs, and all blocks of repeats.

    All other questions of the builder, such as widths, are answered from an arch.

    Args:
        arch: Answers to all labels.
        tags: Records for which answer each layer was built.
        context: Passed to the blended layers, which read the weights of the candidates from it in a forward pass.
        depths: Labels of the repeats to blend; None blends every repeat whose blocks are modules.
        layers: True blends layer choices and edges; False answers them from `arch`, too.

    Attributes:
        layers: Labels of the layer choices and edges that the builder asked for, blended or not.
        repeats: Labels of the repeats that were blended.
        values: Labels of all other questions, which were answered from `arch`.
    """

    def __init__(
        self,
        arch: Mapping[str, Any],
        tags: AnswerTags,
        context: BlendContext,
        depths: frozenset[str] | None = None,
        *,
        layers: bool = True,
    ) -> None:
        super().__init__(arch, tags)
        self._blends_layers = layers
        self._context = context
        self._depths = depths
        self._n_repeats = 0
        self.layers: set[str] = set()
        self.repeats: set[str] = set()
        self.values: set[str] = set()

    def __call__(self, label: str, candidates: Any, *, weights: Sequence[float] | None = None) -> Any:
        if not is_fixed(candidates):
            self.values.add(label)
        return super().__call__(label, candidates, weights=weights)

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        self.layers.add(label)
        if not self._blends_layers:
            return super().layer(label, candidates)
        made = [self._made(label, name, make) for name, make in candidates.items()]
        return MixedLayer(label, made, self._context) if len(made) > 1 else made[0]

    def inputs(self, label: str, n_candidates: int, n_chosen: int | None = 1) -> list[int]:
        self.values.add(label)
        return super().inputs(label, n_candidates, n_chosen)

    def edges(
        self, label: str, n_candidates: int, make: Callable[[int], nn.Module], n_chosen: int | None = 1
    ) -> list[tuple[nn.Module, int]]:
        self.layers.add(label)
        if not self._blends_layers:
            return [(self._tags.add(make(i), label, i), i) for i in self._arch[label]]
        made = [(i, self._tags.add(make(i), label, i)) for i in range(n_candidates)]
        choice = inputs_choice(label, n_candidates, n_chosen)
        if choice.size == 1:
            return [(layer, i) for i, layer in made]
        return [(WeightedEdge(choice, i, layer, self._context), i) for i, layer in made]

    def repeat(
        self, label: str, depth: int | Collection[int], block: Callable[[int], T], *, weights: Sequence[float] | None = None
    ) -> list[T]:
        if isinstance(depth, int):
            return super().repeat(label, depth, block, weights=weights)
        if self._depths is not None and label not in self._depths:
            self.values.add(label)
            return super().repeat(label, depth, block, weights=weights)
        return self._blended_repeat(label, depth, block)

    def _blended_repeat(self, label: str, depth: Collection[int], block: Callable[[int], T]) -> list[T]:
        depths = depth_candidates(label, depth)
        made = [block(i) for i in range(max(depths))]
        if len(depths) == 1:
            return made
        if not all(isinstance(each, nn.Module) for each in made):
            self.values.add(label)
            return made[: self._arch[label]]
        self.repeats.add(label)
        group = f"{label}/{self._n_repeats}"
        self._n_repeats += 1
        blocks = enumerate(cast(list[nn.Module], made))
        return [cast(T, RepeatedBlock(label, i, depths, each, self._context, group)) for i, each in blocks]
