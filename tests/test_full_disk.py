"""Every step that writes, on a disk that is full after k bytes: a sentence, nothing half-written, and it goes on."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hubserve import jobs
from hubserve.atomic import write_atomic
from hubserve.errors import StorageError
from hubserve.failure_reason_file import read_reserved, reserve, write_reserved
from hubserve.storage_faults import storage_error
from tests.jobs.definitions import SMALLEST

STEPS = (
    "publish",
    "set_alias",
    "store_export",
    "store_import",
    "export",
    "profile_in_package",
    "job",
    "weights",
    "one_shot_checkpoint",
    "journal",
    "download",
    "mirror",
    "pull",
    "pull_to_a_folder",
    "push",
)


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """Step -> what happened at each number of bytes left; one process runs them all."""
    found = in_namespace("tests.full_disk_steps", tmp_path_factory.mktemp("disks"), *STEPS)
    return {step: [entry for entry in found if entry["step"] == step] for step in STEPS}


def in_namespace(module, *arguments):
    """The JSON lines that a module prints as root of its own user and mount namespace."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine does not allow user and mount namespaces")
    command = [unshare, "-rm", sys.executable, "-m", module, *map(str, arguments)]
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=root, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_a_step_on_a_full_disk(step, rounds):
    assert rounds[step][0]["kind"] == "StorageError", rounds[step]
    for found in rounds[step]:
        assert found["kind"] in ("StorageError", "done"), found
        assert found["kind"] == "done" or "no space is left on its disk" in found["said"], found
        assert found["unfinished"] == [], found
    assert rounds[step][-1]["left"] is None
    assert rounds[step][-1]["kind"] == "done"


@pytest.mark.slow
def test_results_on_a_disk_that_is_full_or_read_only(tmp_path):
    signs = {"full": "no space is left on its disk", "read-only": "read-only"}
    found = in_namespace("tests.full_disk_results", tmp_path)
    assert len(found) == 12
    for entry in found:
        assert entry["kind"] in ("StorageError", "OutputError"), entry
        assert signs[entry["disk"]] in entry["said"] or entry["kind"] == "OutputError", entry
        assert entry["whole"], entry
    assert all(entry["kind"] == "StorageError" for entry in found if entry["disk"] == "full"), found


@pytest.mark.parametrize("step", ["file", "job"])
def test_a_folder_of_another_user(step, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("HUBSERVE_HOME", folder)
        os.seteuid(65534)
        try:
            with pytest.raises(StorageError, match=rf"{folder} belongs to user root with mode 0755, and this is user nobody"):
                write_atomic(Path(folder, "x"), "") if step == "file" else jobs.create(SMALLEST)
        finally:
            os.seteuid(0)
        assert os.listdir(folder) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_full_disk_is_found_below_other_errors(error):
    outer = ValueError("cannot be exported")
    outer.__cause__ = error
    assert isinstance(storage_error(outer), StorageError)


def test_other_errors_are_none():
    assert storage_error(ValueError("x")) is None
    assert storage_error(FileNotFoundError(2, "No such file or directory", "x")) is None


def test_a_reserved_file_keeps_a_reason(tmp_path):
    path = tmp_path / "reason"
    reserve(path)
    assert read_reserved(path) == ""
    size = path.stat().st_size
    write_reserved(path, "no space is left")
    assert read_reserved(path) == "no space is left"
    assert path.stat().st_size == size
