"""What of a space can be blended, judged by which modules and tensors its networks have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import nn

from hubserve.space import Arch, Choice, OneOf
from hubserve.supernet.blend import KeptLayerNorm, Mixture, OptionalLayer
from hubserve.supernet.blending_picker import BlendingPicker
from hubserve.supernet.masks import probes
from hubserve.supernet.network_shapes import Anatomy, Atlas
from hubserve.supernet.probe_archs import largest, random_answers
from hubserve.supernet.tensor_keys import Tags, Transparent, kinds

Presence = dict[str, tuple[bool, ...]]
"""Key and type of a module -> whether it is there, candidate by candidate."""


@dataclass
class Plan:
    """How each label is treated; what is in none of the sets is sampled.

    Attributes:
        base: answers of the largest network.
        layers: layer choices and edges.
        repeats: depths.
        values: numbers and names that change the shapes of tensors, or leave layers out of a row.
        optional: for the latter, which.
    """

    base: Arch
    layers: frozenset[str]
    repeats: frozenset[str]
    values: frozenset[str] = frozenset()
    optional: dict[str, Presence] = field(default_factory=dict)


def survey(atlas: Atlas) -> Plan:
    """Looks at networks in which one choice is changed at a time."""
    space = atlas.space
    base = next(largest(space), None) or next(random_answers(space, Random(0)))
    picker = BlendingPicker(base, Tags(), Mixture())
    with torch.device("meta"):
        space.build(picker)
    plan = Plan(base, frozenset(picker.layers), frozenset(picker.repeats - picker.values))
    values = [c for c in space.choices.values() if c.label in picker.values - picker.repeats and isinstance(c, OneOf)]
    for choice in values:
        plan.base[choice.label] = _fullest(atlas, plan, choice)
    whole = atlas.look(plan.base)
    for choice in values:
        presence = _presence(atlas, plan, choice, whole) if whole else None
        if presence is not None:
            plan.values |= {choice.label}
            if presence:
                plan.optional[choice.label] = presence
    return plan


def wrap(
    network: nn.Module,
    tags: Tags,
    optional: Mapping[str, Presence],
    masked: frozenset[str],
    mixture: Mixture,
) -> None:
    """Puts wrappers around what `optional` names, and around layer norms whose weights are `masked`, in place.

    Nothing in `network` writes into its input any more: other candidates read it too.
    """
    names = {id(module): name for name, module in kinds(network, tags).items()}
    for parent in list(network.modules()):
        if getattr(parent, "inplace", False):
            parent.inplace = False  # type: ignore[assignment]
        for name, child in list(parent._modules.items()):
            if child is None or isinstance(parent, KeptLayerNorm):
                continue
            key = names.get(id(child), "")
            if isinstance(child, nn.LayerNorm) and len(child.normalized_shape) == 1 and f"{key}/weight" in masked:
                parent._modules[name] = KeptLayerNorm(f"{key}/weight", child, mixture)
            for label, presence in optional.items():
                if key in presence and _in_a_row(parent):
                    parent._modules[name] = OptionalLayer(label, presence[key], parent._modules[name], mixture)  # type: ignore[arg-type]


def _in_a_row(parent: nn.Module) -> bool:
    return isinstance(parent, (nn.Sequential, Transparent))


def _fullest(atlas: Atlas, plan: Plan, choice: Choice) -> Any:
    """The number that is largest; of names, the one with the most modules."""
    if choice.is_numeric:
        return plan.base[choice.label]
    sizes = {answer: atlas.look({**plan.base, choice.label: answer}) for answer in choice.candidates}
    return max(choice.candidates, key=lambda answer: len(found.modules) if (found := sizes[answer]) else -1)


def _presence(atlas: Atlas, plan: Plan, choice: Choice, whole: Anatomy) -> Presence | None:
    """Which modules the other candidates leave out of a row; None where they change more than that, or nothing to be seen."""
    found = [atlas.look({**plan.base, choice.label: answer}) for answer in probes(choice, plan.base[choice.label])]
    if any(other is None or not other.modules.keys() <= whole.modules.keys() for other in found):
        return None
    if all(other.modules.keys() == whole.modules.keys() for other in found if other):
        return None if all(other.shapes == whole.shapes for other in found if other) else {}
    each = [atlas.look({**plan.base, choice.label: answer}) for answer in choice.candidates]
    if any(other is None for other in each):
        return None
    there = [other.modules.keys() for other in each if other]
    tops = _tops(whole.modules, {key for key in whole.modules if not all(key in keys for keys in there)})
    return None if tops is None else {key: tuple(key in keys for keys in there) for key in tops}


def _tops(shared: Mapping[str, nn.Module], missing: set[str]) -> set[str] | None:
    """Those of the missing modules whose parents are there; None where a parent is no row."""
    parents: dict[int, Sequence[nn.Module]] = {}
    for module in shared.values():
        for child in module.children():
            parents[id(child)] = (module,)
            while isinstance(child, Transparent):
                child = child.inner
                parents[id(child)] = (module,)
    names = {id(module): key for key, module in shared.items()}
    tops = set()
    for key in missing:
        parent = parents.get(id(shared[key]), (None,))[0]
        if parent is None:
            return None
        if names[id(parent)] in missing:
            continue
        if not isinstance(parent, nn.Sequential):
            return None
        tops.add(key)
    return tops
