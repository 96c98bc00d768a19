"""What `import hubserve.service.app` loads: the packages that serve, and no library that makes models."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.test_imports import MAKES, SERVES

HEAVY = (
    "torch",
    "torchvision",
    "optuna",
    "sklearn",
    "matplotlib",
    "networkx",
    "scipy",
    "onnx",
    "onnxscript",
    "openvino",
    "ray",
)
"""Libraries that training, search, export and drawing use."""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    code = "import json, sys, hubserve.service.app; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_no_heavy_library(loaded):
    assert not {name.split(".")[0] for name in loaded} & set(HEAVY)


def test_packages_of_hubserve(loaded):
    packages = {name.split(".")[1] for name in loaded if name.startswith("hubserve.")}
    assert not packages & set(MAKES)
    assert packages <= set(SERVES)
    assert {"preprocess", "package", "store", "service"} <= packages
    assert "hubserve.package.torch_runners" not in loaded
