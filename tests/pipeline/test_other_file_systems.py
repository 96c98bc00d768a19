"""A job whose TMPDIR, or whose folder of runs, lies on another file system than the rest; and a quota that is used up."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hubserve import jobs, store
from hubserve.atomic import write_atomic
from hubserve.errors import StorageError
from tests.pipeline.definitions import short
from tests.stores import store_at

MEMORY = Path("/dev/shm")


@pytest.mark.slow
@pytest.mark.parametrize(
    "elsewhere", [*(pytest.param(name, marks=pytest.mark.long) for name in ("TMPDIR", "jobs")), "BENTOML_HOME"]
)
def test_a_job_runs_through_and_publishes(elsewhere, tmp_path, monkeypatch):
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    home, bentoml = tmp_path / "home", tmp_path / "bentoml"
    home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        variables = {"HUBSERVE_HOME": str(home), "BENTOML_HOME": str(bentoml)}
        if elsewhere == "jobs":
            (home / "jobs").symlink_to(folder)
        else:
            variables[elsewhere] = folder
        monkeypatch.setenv("HUBSERVE_HOME", str(home))
        run = jobs.create(short())
        command = [sys.executable, "-m", "hubserve.pipeline", str(run.path)]
        ran = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=240)
        assert ran.returncode == 0, ran.stderr[-3000:]
        status = jobs.read(run)
        assert status.state == "done", status.error
        with store_at(Path(variables["BENTOML_HOME"])):
            (stored,) = store.list_models()
            assert stored.tag == status.published
            stored.package.verify()
        left = [path for path in Path(folder).rglob("*") if path.name.startswith(".") and ".number" not in path.name]
        assert left == []


def test_a_quota_that_is_used_up_is_a_full_disk(tmp_path, monkeypatch):
    def over_quota(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(self))

    monkeypatch.setattr(Path, "write_bytes", over_quota)
    (tmp_path / "note").write_text("old")
    with pytest.raises(StorageError, match="no space is left on its disk, or no quota") as caught:
        write_atomic(tmp_path / "note", "new content")
    assert caught.value.errno == errno.EDQUOT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bentoml", "note"]  # The store is another fixture's.
    assert (tmp_path / "note").read_text() == "old"
