"""Every command that writes a file or folder: one that cannot be written ends it before the work, with its name."""

from __future__ import annotations

import json
import shutil

import pytest

from hubserve import jobs
from tests.jobs.definitions import SMALLEST
from tests.other_user import environment, run_as_nobody, shared_folder
from tests.stores import small_package

WORK = "efficientnet-lite0"
"""A card: what would be exported, at length, before anything is written."""

COMMANDS = {
    "profile --save": lambda place: ["profile", WORK, "--save", place / "out.json"],
    "profile --html": lambda place: ["profile", WORK, "--html", place / "out.html"],
    "profile --write": lambda place: ["profile", place / "package", "--write"],
    "publish --profile": lambda place: ["publish", place / "package", "--profile"],
    "export --out": lambda place: ["export", WORK, "--out", place / "out"],
    "export --triton": lambda place: ["export", WORK, "--out", "here", "--triton", place / "triton"],
    "latency-table build": lambda place: ["latency-table", "build", "--space", "ProxylessNAS", "--table", place / "t.json"],
    "draw --out": lambda place: ["draw", "darts-v2", "--out", place / "out.svg"],
    "store-export": lambda place: ["store-export", "own:v1", place / "own.bentomodel"],
    "store-export folder": lambda place: ["store-export", "own:v1", place],
    "plot --out": lambda place: ["plot", "RUN", "--out", place],
}
"""Options with an output -> command that writes into a folder."""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each command says as the user nobody, for a folder of root's."""
    home = tmp_path_factory.mktemp("home")
    with shared_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_HOME", str(home))
        run = jobs.create(SMALLEST)
        status = run.written_status()
        row = {"number": 0, "values": {"val_acc": 0.5}, "state": "complete"}
        objectives = [{"name": "val_acc", "direction": "maximize"}]
        changed = json.loads(status.model_dump_json()) | {"history": [row], "objectives": objectives, "state": "done"}
        run.write_status(type(status).model_validate(changed))
        own = folder / "run"
        shutil.copytree(run.path, own)
        place = folder / "place"
        shutil.copytree(small_package().path, place / "package")
        commands = [[own if part == "RUN" else part for part in command(place)] for command in COMMANDS.values()]
        (folder / "nobody").mkdir()
        found = run_as_nobody(commands, environment(folder), folder / "nobody")
        yield place, dict(zip(COMMANDS, found, strict=True)), sorted(path.name for path in place.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_written(command, said):
    place, found, left = said
    assert found[command]["code"] == 2, found[command]
    assert found[command]["fault"] == "", found[command]
    assert found[command]["err"].startswith("OutputError: cannot write "), found[command]
    assert f"{place} is not writable: {place} belongs to user root with mode 0755, and this is" in found[command]["err"]
    assert left == ["package"]


@pytest.mark.slow
@pytest.mark.parametrize("command", [name for name in COMMANDS if name.split()[0] in ("draw", "store-export") or "--" in name])
def test_a_folder_that_is_a_file(command, hubserve, tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    if "write" in command or command in ("publish --profile", "plot --out", "store-export folder"):
        pytest.skip("its folder holds what the command reads")
    said = hubserve(*COMMANDS[command](place))
    assert str(place) in said.refused("OutputError")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["profile --save", "profile --html", "draw --out", "store-export"])
def test_a_folder_that_does_not_exist(command, hubserve, tmp_path):
    place = tmp_path / "missing"
    said = hubserve(*COMMANDS[command](place))
    assert f"there is no folder {place}" in said.refused("OutputError")
    assert not place.exists()
