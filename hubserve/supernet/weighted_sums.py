"""Weighted sums of what layers return: tensors, or lists, tuples and dicts of tensors."""

from typing import Any

import torch

from hubserve.data.nested_batches import leaves, map_leaves
from hubserve.errors import SupernetError


def times(weight: torch.Tensor, output: Any) -> Any:
    """Returns `output` with its floating-point tensors multiplied by `weight`, a scalar tensor.

    Other leaves, such as a mask, an index or None, are kept: they cannot be averaged.
    """
    return map_leaves(lambda leaf: weight * leaf if _is_summed(leaf) else leaf, output)


def plus(total: Any, part: Any, what: str, one: str) -> Any:
    """Returns the sum of two outputs, leaf by leaf; leaves that `times` keeps must be equal.

    Args:
        total: The sum so far.
        part: The output to add.
        what: Names all outputs in the error message, e.g. "the depths of 'depth'".
        one: Names a single output in the error message.

    Raises:
        SupernetError: The two are nested in different ways, have different shapes, or different leaves that cannot be added.
    """
    if _is_summed(total) and _is_summed(part) and total.shape == part.shape:
        return total + part

    def add(a: Any, b: Any) -> Any:
        if not _is_summed(a) or not _is_summed(b):
            if _equal(a, b):
                return a
            raise _different(what, one, f"{_shown(a)} and {_shown(b)}, which are no floating-point tensors")
        if a.shape != b.shape:
            raise _different(what, one, f"different shapes, {tuple(a.shape)} and {tuple(b.shape)}")
        return a + b

    try:
        return map_leaves(add, total, part)
    except ValueError as error:
        raise _different(what, one, f"{error}") from error


def zeros_like(x: Any) -> Any:
    """Returns zeros that can be added to tensors with as many axes as `x`: each axis has the length 1. `x` may be nested."""
    return map_leaves(lambda leaf: leaf.new_zeros([1] * leaf.dim()) if isinstance(leaf, torch.Tensor) else leaf, x)


def same_shapes(a: Any, b: Any) -> bool:
    """Returns whether two outputs are nested in the same way and have tensors of the same shapes."""
    try:
        pairs = map_leaves(lambda x, y: _Pair(x, y), a, b)
    except ValueError:
        return False
    return all(getattr(pair.a, "shape", None) == getattr(pair.b, "shape", None) for pair in leaves(pairs))


def close(a: Any, b: Any, tolerance: float) -> bool:
    """Returns whether outputs are equal; floating-point tensors up to `tolerance`, a share of the largest magnitude in `b`."""

    def leaf_close(x: Any, y: Any) -> bool:
        if not _is_summed(x) or not _is_summed(y) or x.shape != y.shape:
            return _equal(x, y)
        return x.numel() == 0 or bool((x - y).abs().max() <= tolerance * y.abs().max())

    try:
        return all(leaves(map_leaves(leaf_close, a, b)))
    except ValueError:
        return False


class _Pair:
    """Two leaves at the same place; unlike a tuple, it is itself a leaf."""

    def __init__(self, a: Any, b: Any) -> None:
        self.a = a
        self.b = b


def _is_summed(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and (a.is_meta or torch.equal(a, b))
    return a is b or bool(type(a) is type(b) and not isinstance(a, torch.Tensor) and a == b)


def _shown(leaf: Any) -> str:
    return f"a tensor of {leaf.dtype}" if isinstance(leaf, torch.Tensor) else repr(leaf)


def _different(what: str, one: str, found: str) -> SupernetError:
    return SupernetError(
        f"{what} give {found}, and cannot be added up; use RandomOneShot or ENAS, which run one {one} at a time"
    )
