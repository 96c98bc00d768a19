"""The user's folder: as the environment says, where it was before, else where the system wants it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubserve.errors import OutputError
from hubserve.home import home
from hubserve.package import trust


@pytest.fixture
def user(tmp_path, monkeypatch):
    for name in ("HUBSERVE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_environment_comes_first(user, monkeypatch):
    (user / ".cache" / "hubserve").mkdir(parents=True)
    monkeypatch.setenv("HUBSERVE_HOME", "/elsewhere")
    assert home() == Path("/elsewhere")


def test_an_existing_folder_goes_on_being_used(user, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(user / "caches"))
    assert home() == user / "caches" / "hubserve"
    (user / ".cache" / "hubserve").mkdir(parents=True)
    assert home() == user / ".cache" / "hubserve"


def test_without_a_home_directory(user, monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(OutputError, match="set HUBSERVE_HOME"):
        home()
    trust.record_written(["0" * 64])
    assert not trust.was_written_here("0" * 64)
