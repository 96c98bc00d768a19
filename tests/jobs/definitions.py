"""The smallest job."""

from __future__ import annotations

SMALLEST = """
name: smallest
space: {name: NasBench201}
data: {name: digits}
strategy: {name: Random}
budget: {trials: 3}
"""
