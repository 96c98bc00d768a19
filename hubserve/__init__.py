"""Hub of neural-architecture-search model spaces: search, training, export, latency profiles and HTTP serving.

Importing this package switches off the usage reports of other libraries, limits their threads to the CPU quota, if there is
one, and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from hubserve.telemetry import disable_telemetry
from hubserve.usable_resources import limit_library_threads

if TYPE_CHECKING:
    from hubserve import blocks, client, evaluator, experiment, hub, space, store, strategy
    from hubserve.image_classifier import ImageClassifier
    from hubserve.load_classifier import load
    from hubserve.training.reporting import (
        current_trial,
        get_experiment_id,
        get_sequence_id,
        get_trial_id,
        report_final_result,
        report_intermediate_result,
    )

__version__ = "0.1.0"

disable_telemetry()
limit_library_threads()

__all__ = [
    "ImageClassifier",
    "__version__",
    "blocks",
    "client",
    "current_trial",
    "evaluator",
    "experiment",
    "get_experiment_id",
    "get_sequence_id",
    "get_trial_id",
    "hub",
    "load",
    "report_final_result",
    "report_intermediate_result",
    "space",
    "store",
    "strategy",
]

_PACKAGES = ("blocks", "client", "evaluator", "experiment", "hub", "space", "store", "strategy")
_ELSEWHERE = {"ImageClassifier": "hubserve.image_classifier", "load": "hubserve.load_classifier"}


def __getattr__(name: str) -> object:
    """Imports and returns a public subpackage, class or function at its first use, so that `import hubserve` imports no torch.

    `load` loads a model as an `ImageClassifier`. The functions for trials, such as `report_final_result`, have the names and
    meanings of NNI's trial API.

    Raises:
        AttributeError: `name` is not in `__all__`.
    """
    if name in _PACKAGES:
        return importlib.import_module(f"hubserve.{name}")
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(_ELSEWHERE[name]), name)
    if name in __all__:
        return getattr(importlib.import_module("hubserve.training.reporting"), name)
    raise AttributeError(f"module 'hubserve' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
