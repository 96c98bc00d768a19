"""How tables name archs, and the way back from a name to an arch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hubserve.errors import ArchError, EvaluatorError
from hubserve.hub.nasbench101 import NasBench101
from hubserve.hub.nasbench201 import NasBench201, to_arch_string
from hubserve.space import Arch, ModelSpace, OneOf

ArchKey = Callable[[ModelSpace, Mapping[str, Any]], str]
"""A space and an arch -> the key of the arch's row."""


def nasbench201_key(space: ModelSpace, arch: Mapping[str, Any]) -> str:
    """NAS-Bench-201's arch string; hub.nasbench201.from_arch_string is the way back."""
    return to_arch_string(arch)


def nasbench101_key(space: ModelSpace, arch: Mapping[str, Any]) -> str:
    """NAS-Bench-101's digest of the pruned cell, which isomorphic cells share; the way back is a row's matrix."""
    if not isinstance(space, NasBench101):
        raise EvaluatorError(f"NAS-Bench-101's table is about cells of NasBench101, not about {type(space).__name__}")
    return space.cell_hash(arch)


def digits_key(space: ModelSpace, arch: Mapping[str, Any]) -> str:
    """A digit for each choice, in the order of asking: the place of the answer among its candidates, as in NAS-Bench-Macro.

    Raises:
        EvaluatorError: a choice has more than ten answers, or does not always matter.
    """
    _hold_to_digits(space)
    canonical = space.canonical(arch)
    return "".join(str(choice.candidates.index(canonical[label])) for label, choice in space.choices.items())


def arch_from_digits(space: ModelSpace, digits: str) -> Arch:
    """The arch that `digits_key` names so.

    Raises:
        ArchError: `digits` is not such a name.
    """
    _hold_to_digits(space)
    choices = list(space.choices.values())
    if len(digits) != len(choices) or any(
        not digit.isdecimal() or int(digit) >= choice.size for digit, choice in zip(digits, choices, strict=True)
    ):
        raise ArchError(
            f"{digits!r} is not a digit for each of {', '.join(space.choices)}, each below its number of candidates"
        )
    return {choice.label: choice.candidates[int(digit)] for digit, choice in zip(digits, choices, strict=True)}


def arch_from_matrix(matrix: Sequence[Sequence[int]], operations: Sequence[str]) -> Arch:
    """The arch of NasBench101 with this upper triangular adjacency matrix and these operations, "input" and "output" included.

    Raises:
        ArchError: matrix and operations are of different size, or an edge leads backwards.
    """
    n = len(operations)
    if n < 2 or len(matrix) != n or any(len(row) != n for row in matrix):
        raise ArchError(f"{n} operations need a matrix of {n} by {n}, n at least 2; it has rows of {[len(r) for r in matrix]}")
    if any(matrix[source][target] for source in range(n) for target in range(source + 1)):
        raise ArchError(f"the matrix {[list(row) for row in matrix]} has an edge on or below its diagonal")
    inner = {f"cell/op{vertex}": operations[vertex] for vertex in range(1, n - 1)}
    inputs = {f"cell/input{target}": [s for s in range(target) if matrix[s][target]] for target in range(1, n)}
    return {"cell/num_nodes": n, **inner, **inputs}


def default_key(space: ModelSpace) -> ArchKey:
    """The key of the public tables of a space; digits for a space that is not in the hub."""
    if isinstance(space, NasBench201):
        return nasbench201_key
    return nasbench101_key if isinstance(space, NasBench101) else digits_key


def _hold_to_digits(space: ModelSpace) -> None:
    for choice in space.choices.values():
        if not isinstance(choice, OneOf) or choice.size > 10 or choice.gates:
            raise EvaluatorError(
                f"choice {choice.label!r} of {type(space).__name__} cannot be a digit: it must always matter and have ten "
                "candidates at most; give the evaluator a key of your own"
            )
