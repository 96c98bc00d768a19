"""Jobs that take seconds."""

from __future__ import annotations

import yaml

SHORT = """
name: short
space: {name: NasBench201, settings: {stem_out_channels: 4, num_modules_per_stack: 1}}
data: {name: digits, settings: {size: 16, augment: false}}
strategy: {name: NSGA2, arguments: {population_size: 2}}
recipe: {epochs: 1}
objectives: [val_acc, latency_ms]
constraints: {params: 40000, latency_ms: 50}
budget: {trials: 2}
retrain: {epochs: 6, ema_decay: 0.9}
publish: {formats: [onnx], profile_seconds: 0.5}
seed: 5
"""
"""With every phase in it; the only one that measures latency."""


def short(**changes: object) -> str:
    """A shorter one, without latency, with other entries."""
    quick = {"objectives": ["val_acc"], "constraints": {}, "strategy": {"name": "Random"}, "budget": {"trials": 2}}
    return yaml.safe_dump({**yaml.safe_load(SHORT), **quick, **changes})
