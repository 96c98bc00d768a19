"""What a serving process loads: the packages that serve, and no library that makes models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from hubserve import store
from tests.images import noise
from tests.process_tree import tree
from tests.service.conftest import ROOT, free_port, start, stop
from tests.stores import small_package, store_at
from tests.test_imports import MAKES, SERVES
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("server")

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
    "grpc",
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


@pytest.fixture(scope="module")
def loaded_by_worker(tmp_path_factory) -> set[str]:
    """The modules of a worker that has classified an image with an ONNX package."""
    home = tmp_path_factory.mktemp("imports")
    with store_at(home):
        store.publish(small_package().path)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"TMPDIR": str(home), "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "modules_on_signal"), str(ROOT)])}
    measured = {"HUBSERVE_THREADS": "1", "HUBSERVE_SESSION_THREADS": "1", "HUBSERVE_MAX_BATCH": "1"}
    process = start(
        [sys.executable, "-m", "hubserve", "serve", "--port", str(port)], home, home / "log", url, more={**own, **measured}
    )
    try:
        assert httpx2.post(f"{url}/classify", content=noise(), timeout=60).status_code == 200
        (worker,) = (pid for pid in tree(process.pid) if "_bentoml_impl.worker.service" in _command(pid))
        os.kill(worker, signal.SIGUSR1)
        path = home / f"modules-{worker}.json"
        until(path.is_file)
        return set(json.loads(path.read_text()))
    finally:
        stop(process)


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_worker_that_has_classified_loads_no_heavy_library(loaded_by_worker):
    assert {"onnxruntime", "hubserve.service.engine", "hubserve.package.onnx_runner"} <= loaded_by_worker
    assert not {name.split(".")[0] for name in loaded_by_worker} & set(HEAVY)
    assert not {name.split(".")[1] for name in loaded_by_worker if name.startswith("hubserve.")} & set(MAKES)
