"""The draw of parts: shares of every class, equal keys together, the same for the same seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hubserve.data.parts import draw
from hubserve.data.splits import stratified

SHARES = st.sampled_from([(0.8, 0.1), (0.9,), (0.6, 0.2), (0.98, 0.01), (0.02, 0.49)])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), max_size=80), SHARES, st.integers(0, 3))
def test_equal_keys_come_into_the_same_part(items, shares, seed):
    labels, keys = [label for label, _ in items], [key for _, key in items]
    parts = draw(labels, keys, shares, seed=seed)
    assert parts == draw(labels, keys, shares, seed=seed)
    assert len({(key, part) for key, part in zip(keys, parts, strict=True)}) == len(set(keys))
    assert all(0 <= part <= len(shares) for part in parts)


@given(st.lists(st.integers(0, 120), min_size=1, max_size=5), SHARES, st.integers(0, 3))
def test_every_class_is_in_every_part_where_it_can_be(sizes, shares, seed):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    parts = draw(labels, range(len(labels)), shares, seed=seed)
    found = Counter(zip(labels, parts, strict=True))
    for label, size in enumerate(sizes):
        counts = [found[label, part] for part in range(len(shares) + 1)]
        assert sum(counts) == size
        if size > len(shares):
            assert min(counts) >= 1
        elif size:
            assert counts[0] == 1
            assert counts[-1] == (size > 1)


def test_as_parts_were_drawn_before_equal_files_were_looked_for():
    """Runs that began then go on with the parts that they had."""
    labels = [0] * 50 + [1] * 31 + [2] * 10
    before = stratified(labels, (0.8, 0.1), seed=7)
    parts = draw(labels, range(len(labels)), (0.8, 0.1), seed=7)
    assert before == [[index for index, found in enumerate(parts) if found == part] for part in range(3)]
