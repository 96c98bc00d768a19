"""The command line in this process, on a store of its own; what needs a process of its own starts one."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hubserve.cli import app
from hubserve.package import trust
from hubserve.package.package import Package
from tests.export.nets import ARCH, SETTINGS
from tests.images import noise
from tests.stores import small_package, store_at, tiny_package


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended.

    Attributes:
        code: of its end.
        out: on stdout.
        err: on stderr.
        fault: traceback of what nobody caught.
    """

    code: int
    out: str
    err: str
    fault: str

    def fine(self) -> str:
        """Stdout of a command that did what it should, and complained of nothing."""
        assert (self.code, self.err, self.fault) == (0, "", ""), self
        return self.out

    def json(self) -> Any:
        """Its one document."""
        return json.loads(self.fine())

    def refused(self, kind: str) -> str:
        """The sentence on stderr, of an error of this kind and nothing else."""
        assert (self.code, self.fault) == (2, ""), self
        assert self.err.startswith(f"{kind}: "), self
        return self.err.removeprefix(f"{kind}: ").rstrip("\n")

    def misused(self) -> str:
        """What the parser of the arguments said, its box and line breaks taken away."""
        assert (self.code, self.out, self.fault) == (2, "", ""), self
        assert self.err.startswith("Usage: "), self
        return " ".join(self.err.replace("│", " ").split())


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The store's; the working folder is another empty one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with store_at(tmp_path / "bentoml") as home:
        yield home


@pytest.fixture
def hubserve(home):
    def run(*arguments: object) -> Said:
        result = CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(a) for a in arguments], prog_name="hubserve")
        unexpected = result.exc_info if result.exception and not isinstance(result.exception, SystemExit) else None
        fault = "".join(traceback.format_exception(*unexpected)) if unexpected else ""
        return Said(result.exit_code, result.stdout, result.stderr, fault)

    return run


@pytest.fixture
def small() -> Path:
    """A package of 7 classes in every form."""
    return _written_here(small_package())


@pytest.fixture
def tiny() -> Path:
    """A package of 7 classes in TorchScript only."""
    return _written_here(tiny_package())


def _written_here(package: Package) -> Path:
    """Its path. An earlier test may have had it written, or recorded, while HUBSERVE_HOME was another folder."""
    trust.record_written(entry.sha256 for entry in package.manifest.files.values())
    return package.path


@pytest.fixture
def picture(tmp_path) -> Path:
    (tmp_path / "picture.png").write_bytes(noise())
    return tmp_path / "picture.png"


@pytest.fixture
def own_arch(tmp_path) -> tuple[str, ...]:
    """Options that name the small network."""
    (tmp_path / "Mine.json").write_text(json.dumps(ARCH))
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    return "--space", "ProxylessNAS", "--arch", str(tmp_path / "Mine.json"), "--settings", str(tmp_path / "settings.json")


@pytest.fixture
def without_plots(monkeypatch) -> None:
    """As where the extra `plots` is not installed."""
    for name in ("hubserve.drawing", "hubserve.pipeline.plots", "hubserve.pipeline.training_plots", "hubserve.plot_style"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("matplotlib", "networkx"):
        monkeypatch.setitem(sys.modules, name, None)
