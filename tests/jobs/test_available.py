"""Job files that can be started by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubserve import jobs
from hubserve.errors import JobNotFoundError
from hubserve.jobs import available
from tests.jobs.definitions import SMALLEST


def test_files_of_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "search_jobs").mkdir()
    (tmp_path / "search_jobs" / "mine.yaml").write_text(SMALLEST + "summary: my own\n")
    (tmp_path / "search_jobs" / "broken.yaml").write_text("name: x\n")
    monkeypatch.chdir(tmp_path)
    found = {job.name: job.summary for job in jobs.available_jobs()}
    assert found["mine"] == "my own"
    assert "is not a job: data is missing; space is missing" in found["broken"]
    assert jobs.available_job("mine").text().startswith(SMALLEST)
    assert jobs.available_job("mine").path == Path.cwd() / "search_jobs" / "mine.yaml"
    with pytest.raises(JobNotFoundError, match="Did you mean mine"):
        jobs.available_job("mien")


def test_one_is_found_by_its_file_name_alone(tmp_path, monkeypatch):
    """No other file is read, and its own one when its text is asked for."""
    (tmp_path / "search_jobs").mkdir()
    for name in ("mine", "other"):
        (tmp_path / "search_jobs" / f"{name}.yaml").write_text(SMALLEST)
    monkeypatch.chdir(tmp_path)
    read: list[Path] = []
    monkeypatch.setattr(available, "read_text", lambda path: read.append(path) or SMALLEST)
    monkeypatch.setattr(available, "read_job", lambda path: pytest.fail(f"{path} is read"))
    found = jobs.available_job("mine")
    assert read == []
    assert found.text() == SMALLEST
    assert read == [tmp_path / "search_jobs" / "mine.yaml"]


def test_those_of_the_package_are_the_ones_of_the_repository():
    repository = Path(available.__file__).parent.parent.parent / "search_jobs"
    found = {job.name: job.path.resolve() for job in jobs.available_jobs()}
    assert found == {path.stem: path.resolve() for path in repository.glob("*.yaml")}
    package = Path(available.__file__).parent.parent / "search_jobs"
    assert package.is_symlink(), "one source: a wheel gets the files through this link"
    assert package.resolve() == repository.resolve()
