"""Batches whose inputs, targets or outputs are lists, tuples and dicts of tensors, in any nesting."""

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import torch

from hubserve.errors import EvaluatorError


def map_leaves(function: Callable[..., Any], nested: Any, *others: Any) -> Any:
    """Returns a copy of `nested` in which each leaf is the result of `function` on it and on the same leaves of `others`.

    Lists, tuples, named tuples and dicts are nested; everything else is a leaf, and so is an object with a method `to`, such as
    a `PackedSequence` of torch or a batch of a tokenizer.

    Args:
        function: Function of one leaf of each argument that follows.
        nested: A leaf, or a list, tuple or dict of such values.
        others: Values with the same lists, tuples and dicts, of the same lengths and keys, as `nested`.

    Raises:
        ValueError: One of `others` is nested in another way.
    """
    if _is_leaf(nested):
        if wrong := [other for other in others if not _is_leaf(other)]:
            raise ValueError(f"{_kind(nested)} and {_kind(wrong[0])}")
        return function(nested, *others)
    for other in others:
        if _is_leaf(other) or _kind(nested) != _kind(other):
            raise ValueError(f"{_kind(nested)} and {_kind(other)}")
    if isinstance(nested, Mapping):
        values = {key: map_leaves(function, nested[key], *(other[key] for other in others)) for key in nested}
        if not isinstance(nested, MutableMapping):
            return values
        found = copy.copy(nested)
        found.update(values)
        return found
    items = [map_leaves(function, *each) for each in zip(nested, *others, strict=True)]
    if isinstance(nested, list):
        return items
    return type(nested)(*items) if hasattr(nested, "_fields") else tuple(items)


def leaves(nested: Any) -> Iterator[Any]:
    """Yields the leaves of a nested value (see `map_leaves`), in the order of the lists, tuples and dicts."""
    if _is_leaf(nested):
        yield nested
    else:
        for each in nested.values() if isinstance(nested, Mapping) else nested:
            yield from leaves(each)


def moved(nested: Any, device: torch.device, *, non_blocking: bool = False) -> Any:
    """Returns `nested` with all its tensors, and other objects with a method `to`, on `device`; other leaves are unchanged."""

    def move(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return leaf.to(device, non_blocking=non_blocking)
        return leaf.to(device) if callable(getattr(leaf, "to", None)) else leaf

    return map_leaves(move, nested)


def batch_on(batch: Any, device: torch.device, *, non_blocking: bool = False) -> tuple[Any, Any]:
    """Returns the inputs and the targets of a batch, with their tensors on `device`.

    Args:
        batch: Pair (inputs, targets), a tuple or a list, as a `DataLoader` yields it; both may be nested.
        device: Device to which tensors are moved.
        non_blocking: Whether a copy to a GPU may run while this process goes on.

    Raises:
        EvaluatorError: The batch is not a pair.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise EvaluatorError(
            f"a batch is {_kind(batch)} and must be a pair (inputs, targets), of which each may be a list, tuple or dict of "
            "tensors: give the DataLoader a collate_fn that returns such pairs, or a data set of such items"
        )
    inputs, targets = (moved(part, device, non_blocking=non_blocking) for part in batch)
    return inputs, targets


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (list, tuple, Mapping)) or callable(getattr(value, "to", None))


def _kind(value: Any) -> str:
    """Returns the type of a value with its length or keys, such as "a tuple of 2"."""
    if _is_leaf(value):
        return f"one {type(value).__name__}"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(sorted(map(repr, value)))}"
    return f"a {'list' if isinstance(value, list) else 'tuple'} of {len(value)}"
