"""Where a study may be kept: a journal file or a URL of Optuna's."""

from __future__ import annotations

import optuna
import pytest

from hubserve.errors import ExperimentError
from hubserve.experiment.journal_file import JournalFileStorage
from hubserve.experiment.storage import open_storage


def test_by_path_and_by_url(tmp_path):
    assert isinstance(open_storage(str(tmp_path / "a")), JournalFileStorage)
    sqlite = open_storage(f"sqlite:///{tmp_path / 'b.db'}")
    optuna.create_study(study_name="s", storage=sqlite).ask()
    assert (tmp_path / "b.db").read_bytes().startswith(b"SQLite format 3")


@pytest.mark.parametrize("content", [b"SQLite format 3\0", b"hello\n", b"[]\n", b"1\n"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "study.db"
    path.write_bytes(content)
    with pytest.raises(ExperimentError, match=r"study.db is no journal of Optuna: its first line is .* sqlite:///"):
        open_storage(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ExperimentError, match="is a folder; name a file"):
        open_storage(tmp_path)


def test_an_unknown_url_is_refused():
    with pytest.raises(ExperimentError, match=r"no storage at 'nosuch://x': .*sqlite:///study.db"):
        open_storage("nosuch://x")
