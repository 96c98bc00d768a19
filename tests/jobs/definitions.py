"""The smallest job."""

from __future__ import annotations

SMALLEST = """
name: smallest
space: {name: NasBench201}
data: {name: digits}
strategy: {name: Random}
budget: {trials: 3}
"""


TINY = {
    "name": "tiny",
    "space": {"name": "NasBench201"},
    "data": {"name": "digits"},
    "strategy": {"name": "Random"},
    "budget": {"trials": 1},
}
"""A definition as a request over HTTP holds it."""
