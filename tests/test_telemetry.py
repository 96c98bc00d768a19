"""Nothing of hubserve reports to anybody: no name is resolved, no host is called, no device id is written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hubserve.telemetry import VARIABLES, disable_telemetry
from tests.images import noise
from tests.stores import small_package

ROOT = Path(__file__).parent.parent
WATCH = Path(__file__).parent / "offline_watch.py"


def may_unshare() -> bool:
    return (
        shutil.which("unshare") is not None and subprocess.run(["unshare", "-rmn", "true"], capture_output=True).returncode == 0
    )


pytestmark = pytest.mark.skipif(not may_unshare(), reason="this machine does not allow namespaces of networks")

SERVE = """
import os, subprocess, sys, time, urllib.request
server = subprocess.Popen([sys.executable, "-m", *sys.argv[2:], "--port", "3000"])
url, body = "http://127.0.0.1:3000", open(sys.argv[1], "rb").read()
end = time.time() + 90
while True:
    try:
        answer = urllib.request.urlopen(urllib.request.Request(f"{url}/classify", data=body), timeout=5)
        break
    except OSError:
        assert time.time() < end and server.poll() is None
        time.sleep(0.3)
assert answer.status == 200
time.sleep(2)
server.terminate()
server.wait(30)
"""

SEARCH = """
name: watched
space: {name: NasBench201, settings: {stem_out_channels: 4, num_modules_per_stack: 1}}
data: {name: digits, settings: {size: 16}}
strategy: {name: Random}
executor: {kind: KIND}
recipe: {epochs: 1, batch_size: 256}
objectives: [val_acc]
budget: {trials: 1}
retrain: {epochs: 1, batch_size: 256}
publish: {name: watched, formats: [onnx], profile_seconds: 1}
seed: 0
"""


@pytest.fixture
def watch(tmp_path):
    """Runs a command in a network of its own; returns what it tried to reach and wrote into HOME."""

    def run(*command: object, offline: bool = False) -> dict[str, object]:
        homes = {name: str(tmp_path / name.lower()) for name in ("HOME", "HUBSERVE_HOME", "BENTOML_HOME")}
        Path(homes["HOME"]).mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, "XDG_CACHE_HOME")}
        environment |= {**homes, "PYTHONPATH": str(ROOT), "HUBSERVE_OFFLINE": "1" if offline else "", "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            ["unshare", "-rmn", sys.executable, WATCH, *map(str, command)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert ran.returncode == 0, ran.stderr
        found = json.loads(ran.stdout.splitlines()[-1])
        assert found.pop("returncode") == 0, found["output"]
        found.pop("output")
        return found | {"ids": [str(path) for path in Path(homes["HOME"]).rglob("*") if "icrosoft" in str(path)]}

    return run


@pytest.fixture
def image(tmp_path):
    (tmp_path / "image.png").write_bytes(noise())
    return tmp_path / "image.png"


NOTHING = {"names": [], "connections": [], "ids": []}


def test_the_watch_sees_what_is_tried(watch):
    program = "import urllib.request as u\ntry: u.urlopen('http://reports.example/x')\nexcept OSError: pass"
    found = watch(sys.executable, "-c", program)
    assert found == {"names": ["reports.example"], "connections": [80], "ids": []}


@pytest.mark.parametrize(("offline", "kept"), [("", "0"), ("0", "0"), ("1", "1")])
def test_what_the_user_set_is_kept_but_offline(monkeypatch, offline, kept):
    monkeypatch.setenv("HUBSERVE_OFFLINE", offline)
    for name in VARIABLES:
        monkeypatch.setenv(name, "0")
    disable_telemetry()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == kept


def test_the_script_of_a_package(watch, image):
    assert watch(sys.executable, small_package().path / "run_onnx.py", image) == NOTHING


@pytest.mark.slow
@pytest.mark.parametrize("offline", [False, True])
def test_predict(watch, image, offline):
    assert watch(sys.executable, "-m", "hubserve", "predict", small_package().path, image, offline=offline) == NOTHING


@pytest.mark.slow
def test_export_and_profile(watch, tmp_path):
    small = small_package()
    (tmp_path / "arch.json").write_text(json.dumps(dict(small.manifest.arch)))
    (tmp_path / "settings.json").write_text(json.dumps(dict(small.manifest.settings)))
    space = ["--space", small.manifest.space, "--arch", "arch.json", "--settings", "settings.json"]
    assert watch(sys.executable, "-m", "hubserve", "export", *space, "--out", "exported", "--format", "onnx") == NOTHING
    assert watch(sys.executable, "-m", "hubserve", "profile", "exported", "--seconds", "2") == NOTHING


@pytest.mark.slow
@pytest.mark.parametrize("command", ["hubserve serve", "bentoml serve hubserve.service.app:HubServe"])
def test_serve(watch, image, command):
    assert watch(sys.executable, "-m", "hubserve", "publish", small_package().path) == NOTHING
    assert watch(sys.executable, "-c", SERVE, image, *command.split()) == NOTHING


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("inline", marks=pytest.mark.long), "ray"])
def test_search(watch, tmp_path, kind):
    if kind == "ray":
        pytest.importorskip("ray")
    (tmp_path / "job.yaml").write_text(SEARCH.replace("KIND", kind))
    assert watch(sys.executable, "-m", "hubserve", "search", "job.yaml") == NOTHING
