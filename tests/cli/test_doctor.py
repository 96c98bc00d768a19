"""`hubserve doctor`."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

from hubserve import store
from hubserve.cli.commands import doctor


def rows(said) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in json.loads(said.out)}


def test_this_installation_can_do_everything(hubserve, small, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    store.publish(small)
    found = rows(hubserve("doctor", "--json"))
    assert {row["state"] for row in found.values()} <= {"ok", "note"}
    assert found["torch"]["found"] == metadata.version("torch")
    assert "1 in the store" in found["models"]["found"]
    assert "CPU cores" in found["devices"]["found"]
    assert str(tmp_path / "home") in found["home"]["found"]


def test_an_empty_store_has_an_advice(hubserve):
    found = rows(hubserve("doctor", "--json"))
    assert found["models"]["advice"] == "hubserve publish efficientnet-lite0"
    assert "hubserve publish efficientnet-lite0" in hubserve("doctor").fine()


def test_a_corrupt_model_is_a_problem(hubserve, tiny):
    stored = store.publish(tiny)
    (stored.path / "labels.txt").unlink()
    said = hubserve("doctor", "--json")
    assert said.code == 2
    assert rows(said)["models"]["advice"].endswith(f"hubserve delete {stored.tag}")


def test_a_folder_that_cannot_be_written_is_a_problem(hubserve, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "file"))
    said = hubserve("doctor", "--json")
    assert said.code == 2
    assert "set HUBSERVE_HOME" in rows(said)["home"]["advice"]


@pytest.mark.parametrize(
    ("installed", "state"), [({"onnxruntime", "onnxruntime-gpu"}, "problem"), ({"onnxruntime"}, "ok"), (set(), "problem")]
)
def test_two_onnx_runtimes_overwrite_each_other(hubserve, monkeypatch, installed, state):
    def version(name: str) -> str:
        if name.startswith("onnxruntime") and name not in installed:
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(metadata, "version", version)
    assert rows(hubserve("doctor", "--json"))["onnxruntime"]["state"] == state


def test_an_absent_extra_says_how_to_install_it(hubserve, monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    found = rows(hubserve("doctor", "--json"))
    assert found["extra ray"]["state"] == "note"
    assert "pip install 'hubserve[ray]'" in found["extra ray"]["advice"]


def test_python_without_torchscript_is_noted(hubserve, monkeypatch):
    monkeypatch.setattr(doctor, "PYTHON", (3, 14))
    assert "TorchScript" in rows(hubserve("doctor", "--json"))["python"]["advice"]


def test_windows_is_refused_at_once():
    code = "import sys; sys.platform = 'win32'; import hubserve.cli"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "hubserve does not support Windows: use Linux, macOS, WSL or a container\n"
