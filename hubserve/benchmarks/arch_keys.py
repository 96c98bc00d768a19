"""Converts archs to the keys by which tables of scores name them, and back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hubserve.errors import ArchError, EvaluatorError
from hubserve.hub.nasbench101 import NasBench101
from hubserve.hub.nasbench201 import NasBench201, to_arch_string
from hubserve.space import Arch, ModelSpace, OneOf

ArchKey = Callable[[ModelSpace, Mapping[str, Any]], str]
"""Function from a space and an arch to the key of the arch's row in a table."""


def nasbench201_key(space: ModelSpace, arch: Mapping[str, Any]) -> str:
    """Returns the arch string that NAS-Bench-201 uses as the key; `hub.nasbench201.from_arch_string` converts it back.

    Raises:
        ArchError: `arch` is not an arch of NasBench201. The space is not checked.
    """
    return to_arch_string(arch)


def nasbench101_key(space: ModelSpace, arch: Mapping[str, Any]) -> str:
    """Returns the digest that NAS-Bench-101 uses as the key of `arch`; isomorphic cells have the same digest.

    It is computed from the pruned cell. `arch_from_matrix` makes an arch from a row of the table.

    Raises:
        EvaluatorError: The space is not NasBench101.
        ArchError: `arch` is not in the space.
    """
    if not isinstance(space, NasBench101):
        raise EvaluatorError(f"a table of NAS-Bench-101 has cells of NasBench101, not of {type(space).__name__}")
    return space.cell_hash(arch)


def digits_key(space: ModelSpace, arch: Mapping[str, Any]) -> str:
    """Returns a string with a digit for each choice of the space, in its order: the index of the chosen candidate.

    NAS-Bench-Macro uses such keys.

    Raises:
        EvaluatorError: A choice has more than ten candidates, has several candidates in an answer, or is not always active.
        ArchError: `arch` is not in the space.
    """
    _check_digits(space)
    canonical = space.canonical(arch)
    return "".join(str(choice.candidates.index(canonical[label])) for label, choice in space.choices.items())


def arch_from_digits(space: ModelSpace, digits: str) -> Arch:
    """Returns the arch for which `digits_key` returns `digits`; `space.check` is not called.

    Raises:
        ArchError: `digits` is not the key of an arch.
        EvaluatorError: The space has a choice that `digits_key` does not support.
    """
    _check_digits(space)
    choices = list(space.choices.values())
    if len(digits) != len(choices) or any(
        not digit.isdecimal() or int(digit) >= choice.size for digit, choice in zip(digits, choices, strict=True)
    ):
        raise ArchError(
            f"{digits!r} is not a digit for each of {', '.join(space.choices)}, each below its number of candidates"
        )
    return {choice.label: choice.candidates[int(digit)] for digit, choice in zip(digits, choices, strict=True)}


def arch_from_matrix(matrix: Sequence[Sequence[int]], operations: Sequence[str]) -> Arch:
    """Returns the arch of NasBench101 whose cell has the given graph.

    Args:
        matrix: Upper triangular adjacency matrix: an entry other than 0 is an edge from the vertex of its row to that of its
            column.
        operations: Operation of each vertex, from "input" to "output"; the names are not checked.

    Raises:
        ArchError: The sizes of `matrix` and `operations` do not match, or an entry on or below the diagonal is not 0.
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
    """Returns the function that computes the keys of the published tables of `space`; `digits_key` for spaces without any."""
    if isinstance(space, NasBench201):
        return nasbench201_key
    return nasbench101_key if isinstance(space, NasBench101) else digits_key


def _check_digits(space: ModelSpace) -> None:
    for choice in space.choices.values():
        if not isinstance(choice, OneOf) or choice.size > 10 or choice.gates:
            raise EvaluatorError(
                f"choice {choice.label!r} of {type(space).__name__} cannot be a digit: it must always matter and have ten "
                "candidates at most; give the evaluator a key of your own"
            )
