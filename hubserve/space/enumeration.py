"""Exact counting and numbering of the archs of a space, with big integers and without building or listing anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hubserve.space.choice import Arch, Choice


def count_archs(choices: Sequence[Choice]) -> int:
    """Number of different canonical archs of `choices`, which come gates first.

    A product over groups of choices that share conditions; within a group, a sum over the answers that gate others.
    """
    gates = _gates(choices)
    return math.prod(_count_group(group, gates, {}) for group in _groups(choices))


def arch_at(choices: Sequence[Choice], index: int) -> Arch:
    """The canonical arch of number `index`, 0 <= index < count_archs(choices); each number is another arch."""
    gates = _gates(choices)
    arch: Arch = {}
    for group in _groups(choices):
        index, number = divmod(index, _count_group(group, gates, {}))
        arch.update(_group_at(group, gates, number))
    return arch


def _gates(choices: Sequence[Choice]) -> frozenset[str]:
    return frozenset().union(*(choice.gates for choice in choices))


def _count_group(group: Sequence[Choice], gates: frozenset[str], arch: Arch) -> int:
    """Canonical archs of the choices in `group`, the gates before them answered by `arch`."""
    total = 1
    for i, choice in enumerate(group):
        if not choice.active(arch):
            continue
        if choice.label in gates:
            rest = group[i + 1 :]
            return total * sum(_count_group(rest, gates, {**arch, choice.label: answer}) for answer in choice.answers())
        total *= choice.size
    return total


def _group_at(group: Sequence[Choice], gates: frozenset[str], number: int) -> Arch:
    """The same walk as in `_count_group`, into the branch that holds `number`."""
    arch: Arch = {}
    for i, choice in enumerate(group):
        if not choice.active(arch):
            continue
        if choice.label not in gates:
            number, digit = divmod(number, choice.size)
            arch[choice.label] = choice.answer_at(digit)
            continue
        for answer in choice.answers():
            below = _count_group(group[i + 1 :], gates, {**arch, choice.label: answer})
            if number < below:
                arch[choice.label] = answer
                break
            number -= below
    return arch


def _groups(choices: Sequence[Choice]) -> list[list[Choice]]:
    """Choices split into groups with no condition between them, order kept."""
    joined_to: dict[str, str] = {}

    def root(label: str) -> str:
        while label in joined_to:
            label = joined_to[label]
        return label

    for choice in choices:
        for gate in choice.gates:
            if root(gate) != root(choice.label):
                joined_to[root(choice.label)] = root(gate)
    groups: dict[str, list[Choice]] = {}
    for choice in choices:
        groups.setdefault(root(choice.label), []).append(choice)
    return list(groups.values())
