"""Marks for matrices: some rows run in every test run, the others are slow tests."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import pytest


def slow_but(names: Iterable[str], quick: Container[str]) -> list[Any]:
    """Parameters for `names`; those that are not in `quick`, which repeat the same thing, are marked as slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]
