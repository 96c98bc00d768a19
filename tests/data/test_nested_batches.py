"""Nested batches: lists, tuples and dicts of tensors."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from hubserve.data.nested_batches import batch_on, leaves, map_leaves, moved
from hubserve.errors import EvaluatorError

Named = namedtuple("Named", ["a", "b"])
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "nested",
    [1, [1, 2], (1, 2), Named(1, 2), {"a": 1, "b": [2, (3, {"c": 4})]}, [], {}, OrderedDict(b=1, a=2), defaultdict(list, a=1)],
)
def test_the_copy_has_the_same_types(nested):
    found = map_leaves(lambda leaf: leaf, nested)
    assert found == nested
    assert type(found) is type(nested)
    assert found is not nested or not isinstance(nested, (list, dict))


def test_leaves_of_several():
    assert map_leaves(lambda a, b: a + b, {"x": [1, (2,)]}, {"x": [10, (20,)]}) == {"x": [11, (22,)]}
    assert list(leaves({"x": [1, (2, None)], "y": "text"})) == [1, 2, None, "text"]


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([1, 2], [1], "a list of 2 and a list of 1"),
        ((1,), [1], "a tuple of 1 and a list of 1"),
        ({"a": 1}, {"b": 1}, "a dict of 'a' and a dict of 'b'"),
        (1, [1], "one int and a list of 1"),
        ([1], 1, "a list of 1 and one int"),
        ({"x": [1, (2, 3)]}, {"x": [1, (2,)]}, "a tuple of 2 and a tuple of 1"),
    ],
)
def test_other_nesting(a, b, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        map_leaves(lambda *each: each, a, b)


def test_tensors_are_moved_and_other_leaves_kept():
    found = moved({"x": [torch.ones(2), "text", 3], "y": (None,)}, torch.device("meta"))
    assert found["x"][0].is_meta
    assert found["x"][1:] == ["text", 3]
    assert found["y"] == (None,)


def test_an_object_with_to_is_moved_as_a_whole():
    packed = pack_sequence([torch.ones(3, 2), torch.ones(1, 2)])
    found = moved((packed, torch.zeros(1)), CPU)[0]
    assert isinstance(found, PackedSequence)
    assert torch.equal(found.batch_sizes, packed.batch_sizes)


@pytest.mark.parametrize("batch", [{"x": 1, "y": 2}, (1, 2, 3), [1], torch.zeros(2, 3), "ab"])
def test_a_batch_that_is_no_pair(batch):
    with pytest.raises(EvaluatorError, match=r"must be a pair \(inputs, targets\)"):
        batch_on(batch, CPU)


@pytest.mark.parametrize("pair", [(1, 2), [1, 2]])
def test_a_pair(pair):
    assert batch_on(pair, CPU) == (1, 2)
