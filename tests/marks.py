"""Marks for matrices: some rows run in every test run, the others are slow tests, or long ones."""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import Any

import pytest


def slow_but(names: Collection[str], quick: Container[str]) -> list[Any]:
    """Parameters for `names`; those that are not in `quick`, which repeat the same thing, are marked as slow."""
    return graded(names, quick=quick, slow=names)


def graded(names: Collection[str], *, quick: Container[str] = (), slow: Container[str] = ()) -> list[Any]:
    """Parameters for `names`: those in `quick` have no mark, those in `slow` are slow, and the others are long."""
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.slow if name in slow else pytest.mark.long)
        for name in names
    ]
