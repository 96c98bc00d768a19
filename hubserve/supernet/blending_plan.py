"""`BlendingPlan`, which says how each choice of a space is blended, and `make_plan`.

docs/supernets.md shows how a plan is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import torch
from torch import nn

from hubserve.space import Arch, Choice, ModelSpace, OneOf
from hubserve.supernet.blend import BlendContext
from hubserve.supernet.blending_picker import BlendingPicker
from hubserve.supernet.network_shapes import NetworkShapes, NetworkShapesCache
from hubserve.supernet.probe_archs import largest, other_answers, random_answers
from hubserve.supernet.tensor_keys import AnswerTags, Wrapper

Presence = dict[str, tuple[bool, ...]]
"""Maps the key and type of a module ("key:Type") to one bool for each candidate of a choice: True if it has the module."""


@dataclass(frozen=True)
class BlendingPlan:
    """Says how the choice of each label is blended; a label that is in none of the sets is sampled.

    Attributes:
        base: Answers to all labels that give the largest network.
        layers: Labels of layer choices and edges, blended as weighted sums of the candidates' outputs.
        repeats: Labels of repeats, blended as a weighted sum over depths.
        values: Labels of other choices that change the shapes of tensors (blended by masks) or that leave layers out of an
            `nn.Sequential` (blended by `OptionalLayer`).
        optional: Maps those labels of `values` that leave layers out to the layers they leave out.
        masks_everywhere: True masks all axes whose lengths the choices change; False masks the outputs of layers only (see
            `find_masks`).
    """

    base: Arch
    layers: frozenset[str]
    repeats: frozenset[str]
    values: frozenset[str] = frozenset()
    optional: Mapping[str, Presence] = field(default_factory=dict)
    masks_everywhere: bool = False

    @property
    def blended(self) -> frozenset[str]:
        """All labels that are blended."""
        return self.layers | self.repeats | self.values

    @property
    def uncertain(self) -> frozenset[str]:
        """The blended labels except layer choices and edges: their blends may be inexact, so `prove` checks them."""
        return (self.repeats | self.values) - self.layers

    def without(self, labels: Collection[str]) -> BlendingPlan:
        """Returns a copy of the plan in which `labels` are sampled rather than blended."""
        dropped = frozenset(labels)
        return replace(
            self,
            layers=self.layers - dropped,
            repeats=self.repeats - dropped,
            values=self.values - dropped,
            optional={label: presence for label, presence in self.optional.items() if label not in dropped},
        )


def make_plan(networks: NetworkShapesCache) -> BlendingPlan:
    """Returns the plan for a space, made from the shapes of networks that differ from the largest one in a single choice.

    Only shapes are compared, so blends of its `uncertain` labels may be inexact: `prove` finds out before the plan is used.

    Args:
        networks: The shapes of the space's networks, each with only the layers that its arch chooses (`layers=False`).
    """
    space = networks.space
    base = next(largest(space), None) or next(random_answers(space, Random(0)))
    picker = _asked_for_all(space, base)
    asked_for_values = picker.values - picker.repeats
    choices = [choice for choice in space.choices.values() if choice.label in asked_for_values and isinstance(choice, OneOf)]
    for choice in choices:
        base[choice.label] = _fullest(networks, base, choice)
    optional: dict[str, Presence] = {}
    if (whole := networks.get(base)) is not None:
        presences = {choice.label: _presence(networks, base, choice, whole) for choice in choices}
        optional = {label: presence for label, presence in presences.items() if presence is not None}
    return BlendingPlan(
        base,
        layers=frozenset(picker.layers),
        repeats=frozenset(picker.repeats - picker.values),
        values=frozenset(optional),
        optional={label: presence for label, presence in optional.items() if presence},
    )


def _asked_for_all(space: ModelSpace, base: Arch) -> BlendingPicker:
    """Returns a picker that a builder asked for all choices of `space`, so that it knows of what kind each is."""
    with torch.device("meta"):
        # A network with all candidates takes many times as long to build; it is needed where a candidate asks questions.
        for layers in (False, True):
            picker = BlendingPicker(base, AnswerTags(), BlendContext(), layers=layers)
            space.build(picker)
            if space.choices.keys() <= picker.layers | picker.repeats | picker.values:
                break
    return picker


def _fullest(networks: NetworkShapesCache, base: Arch, choice: Choice) -> Any:
    """Returns the answer to `choice` that gives the largest network when all other answers are those of `base`.

    For numbers it is the answer of `base`, which is the largest already; for names, the one whose network has the most modules.
    """
    if choice.is_numeric:
        return base[choice.label]
    found = {answer: networks.get({**base, choice.label: answer}) for answer in choice.candidates}
    return max(choice.candidates, key=lambda answer: len(network.modules) if (network := found[answer]) else -1)


def _presence(networks: NetworkShapesCache, base: Arch, choice: Choice, whole: NetworkShapes) -> Presence | None:
    """Returns the modules that some candidates of `choice` leave out of an `nn.Sequential`, and which candidates have them.

    Args:
        networks: The shapes of the space's networks.
        base: Answers to all labels that give the largest network.
        choice: The choice whose candidates are compared; all other answers are those of `base`.
        whole: The network of `base`.

    Returns:
        An empty dict if the candidates change only the shapes of tensors. None if the choice cannot be blended: a candidate
        adds modules, leaves modules out of another container or is refused by the builder, or no candidate changes anything.
    """
    found = [networks.get({**base, choice.label: answer}) for answer in other_answers(choice, base[choice.label])]
    if any(other is None or not other.modules.keys() <= whole.modules.keys() for other in found):
        return None
    if all(other.modules.keys() == whole.modules.keys() for other in found if other):
        return None if all(other.shapes == whole.shapes for other in found if other) else {}
    each = [networks.get({**base, choice.label: answer}) for answer in choice.candidates]
    if any(other is None for other in each):
        return None
    keys = [other.modules.keys() for other in each if other]
    left_out = _outermost(whole.modules, {key for key in whole.modules if not all(key in there for there in keys)})
    return None if left_out is None else {key: tuple(key in there for there in keys) for key in left_out}


def _outermost(modules: Mapping[str, nn.Module], missing: set[str]) -> set[str] | None:
    """Returns the `missing` modules whose parent module is not missing; None if the parent of one is not an `nn.Sequential`.

    Args:
        modules: Maps keys to all modules of a network.
        missing: Keys of the modules that some candidates leave out.
    """
    parents: dict[int, nn.Module] = {}
    for module in modules.values():
        for child in module.children():
            parents[id(child)] = module
            while isinstance(child, Wrapper):
                child = child.inner
                parents[id(child)] = module
    keys = {id(module): key for key, module in modules.items()}
    outermost = set()
    for key in missing:
        parent = parents.get(id(modules[key]))
        if parent is None:
            return None
        if keys[id(parent)] in missing:
            continue
        if not isinstance(parent, nn.Sequential):
            return None
        outermost.add(key)
    return outermost
