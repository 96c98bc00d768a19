"""Finds the modules of a network that depend on each choice of its arch, from which a profile sums the time of each choice."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from hubserve.errors import ArchError
from hubserve.space import Choice, ModelSpace
from hubserve.space.picker import FrozenPicker, is_fixed

T = TypeVar("T")


def labels_of_modules(space: ModelSpace, arch: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Returns, by the path of each leaf module, the labels of the choices on whose values the module depends.

    A module depends on a choice if it would be different or absent with another value: a layer depends on its layer choice, a
    block beyond the smallest depth on the choice of the depth, and a module on a number, such as a kernel size or a width, that
    changes its weights or settings. No module depends on a choice of inputs.

    Raises:
        ArchError: The arch does not belong to the space.
    """
    arch = space.canonical(arch)
    picker = _TaggingPicker(arch, space.choices)
    with torch.device("meta"):
        model = space.build(picker)
    owners: dict[str, set[str]] = {path: set() for path, module in model.named_modules() if _is_leaf(module)}
    for path, module in model.named_modules():
        for leaf in owners:
            if id(module) in picker.tags and (leaf == path or leaf.startswith(f"{path}.") or not path):
                owners[leaf] |= picker.tags[id(module)]
    before = _signatures(model)
    # With another value of one choice, the network may need values for choices that are not in the arch.
    complete = {label: choice.answer_at(0) for label, choice in space.choices.items()}
    for label in picker.numbers:
        for other in _two_other_answers(space.choices[label], arch[label]):
            with contextlib.suppress(ArchError), torch.device("meta"):  # The space may forbid this combination of values.
                after = _signatures(space.freeze({**complete, **arch, label: other}))
                for path in owners:
                    if after.get(path) != before[path]:
                        owners[path].add(label)
    return {path: frozenset(labels) for path, labels in owners.items()}


class _TaggingPicker(FrozenPicker):
    """Picks the values of an arch, and records which layers and blocks were made for each label.

    Attributes:
        tags: Id of a module -> labels of the choices for which it was made.
        numbers: Labels of the choices of single values, such as kernel sizes and widths, in the order of their use.
    """

    def __init__(self, arch: Mapping[str, Any], choices: Mapping[str, Choice]) -> None:
        super().__init__(arch)
        self._choices = choices
        self.tags: dict[int, set[str]] = defaultdict(set)
        self.numbers: list[str] = []

    def __call__(self, label: str, candidates: Any, *, weights: Sequence[float] | None = None) -> Any:
        if label in self._choices and label not in self.numbers and not is_fixed(candidates):
            self.numbers.append(label)
        return super().__call__(label, candidates, weights=weights)

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        module = super().layer(label, candidates)
        self.tags[id(module)].add(label)
        return module

    def repeat(
        self, label: str, depth: int | Collection[int], block: Callable[[int], T], *, weights: Sequence[float] | None = None
    ) -> list[T]:
        blocks = super().repeat(label, depth, block, weights=weights)
        if label in self._choices and not isinstance(depth, int):
            fewest = min(self._choices[label].candidates)
            for module in blocks[fewest:]:
                self.tags[id(module)].add(label)
        return blocks


def _two_other_answers(choice: Choice, chosen: Any) -> list[Any]:
    """Returns the values of a choice other than `chosen`; if there are more than two, only the first and the last.

    A module that depends on the choice is different with at least one of them.
    """
    rest = [answer for answer in choice.answers() if answer != chosen]
    return rest if len(rest) < 3 else [rest[0], rest[-1]]


def _signatures(model: nn.Module) -> dict[str, str]:
    return {
        path: f"{module!r} {[tuple(p.shape) for p in module.parameters()]}"
        for path, module in model.named_modules()
        if _is_leaf(module)
    }


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None
