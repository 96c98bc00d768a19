"""A cache of what was used last."""

from __future__ import annotations

import copy

from hubserve.supernet.recently_used import RecentlyUsed


def test_keeps_what_was_used_last():
    cache, made = RecentlyUsed(2), []
    for key in "abacab":
        assert cache.get(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert made == ["a", "b", "c", "b"]
    assert len(cache) == 2


def test_what_clears_it_while_it_is_made_is_kept():
    cache = RecentlyUsed(2)
    cache.get("a", lambda: 1)
    assert cache.get("b", lambda: cache.clear() or 2) == 2
    assert len(cache) == 1


def test_a_copy_is_empty():
    cache = RecentlyUsed(2)
    cache.get("a", lambda: 1)
    assert len(copy.deepcopy(cache)) == 0
    assert len(cache) == 1
