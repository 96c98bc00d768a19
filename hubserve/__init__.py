"""Searched neural architectures in production: model spaces, exact pre-searched models, export, HTTP serving."""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

# Told lazily: `import hubserve` stays light. The functions are those that NNI's trials call, under their names.
_REPORTING = (
    "current_trial",
    "get_experiment_id",
    "get_sequence_id",
    "get_trial_id",
    "report_final_result",
    "report_intermediate_result",
)


def __getattr__(name: str) -> object:
    if name in _REPORTING:
        return getattr(importlib.import_module("hubserve.training.reporting"), name)
    raise AttributeError(f"module 'hubserve' has no attribute {name!r}")
