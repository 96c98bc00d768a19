"""All commands alike: help without torch, `--json`, exit codes, and where they speak."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer.main

from hubserve import __version__
from hubserve.cli import app
from tests.service.conftest import environment

ROOT = Path(__file__).parent.parent.parent
COMMANDS = typer.main.get_command(app).commands
LEAVES = {
    f"{name} {below}".rstrip(): leaf
    for name, command in COMMANDS.items()
    for below, leaf in getattr(command, "commands", {"": command}).items()
}
"""Those that do something, the ones of groups with the group's name."""

SLOW_TO_LOAD = {"torch", "bentoml", "numpy", "onnxruntime", "optuna", "PIL", "httpx", "httpx2"}


def python(*arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = environment(home) if home else {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, cwd=ROOT)


class TestHelp:
    def test_loads_nothing_slow(self):
        run = python("-X", "importtime", "-m", "hubserve", "--help")
        assert run.returncode == 0
        loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.stderr.splitlines()}
        assert {"typer", "hubserve"} <= loaded
        assert loaded & SLOW_TO_LOAD == set()

    def test_nor_does_the_help_of_a_command(self):
        """Of any, and the version."""
        calls = [["--version"], *([name, "--help"] for name in COMMANDS)]
        program = f"""
import sys
from hubserve.cli import app
for arguments in {calls!r}:
    app(arguments, standalone_mode=False)
print(sorted({SLOW_TO_LOAD!r} & set(sys.modules)), file=sys.stderr)
"""
        run = python("-c", program)
        assert (run.returncode, run.stderr) == (0, "[]\n")
        assert run.stdout.count("Usage: ") == len(COMMANDS)

    def test_names_every_command(self, hubserve):
        said = hubserve("--help").fine()
        for name, command in COMMANDS.items():
            assert f"│ {name} " in said
            assert (command.help or "").split("\n")[0] in said

    def test_every_option_is_explained(self):
        for name, command in COMMANDS.items():
            for parameter in command.params:
                assert getattr(parameter, "help", None), f"{name}: {parameter.name}"

    def test_nothing_is_a_wish_for_help(self, hubserve):
        said = hubserve()
        assert "Usage: hubserve [OPTIONS] COMMAND" in said.out + said.err

    def test_version(self, hubserve):
        assert hubserve("--version").fine() == f"hubserve {__version__}\n"


class TestMisuse:
    """What the parser of the arguments refuses."""

    @pytest.mark.parametrize(
        ("arguments", "pattern"),
        [
            (["nosuch"], "no such command 'nosuch'"),
            (["predict"], "missing argument '.*model"),
            (["predict", "small"], "missing argument '.*images"),
            (["eval", "small"], "missing argument '.*folder"),
            (["predict", "small", "x.jpg", "--top-k", "0"], "'--top-k'"),
            (["profile", "small", "--batch-size", "0"], "'--batch-size'"),
            (["profile", "small", "--percent", "100"], "'--percent'"),
            (["profile", "small", "--seconds", "0"], "'--seconds'"),
            (["profile", "small", "--threads", "two"], "'--threads'"),
            (["export", "small", "--format", "tflite"], "'tflite' is not one of"),
            (["eval", "small", ".", "--backend", "tpu"], "'tpu' is not one of"),
            (["serve", "--port", "65536"], "'--port'"),
            (["spaces", "--jason"], "no such option: --jason"),
            (["delete"], "missing argument '.*tag"),
        ],
    )
    def test_ends_with_2(self, hubserve, arguments, pattern):
        assert re.search(pattern, hubserve(*arguments).misused(), re.IGNORECASE)


class TestJson:
    @pytest.mark.parametrize("name", LEAVES)
    def test_every_command_takes_it(self, name):
        assert "Every command takes `--json`" in (ROOT / "README.md").read_text()
        assert any("--json" in parameter.opts for parameter in LEAVES[name].params)

    def test_an_error_is_a_document_too(self, hubserve):
        said = hubserve("models", "nosuch", "--json")
        message = said.refused("ModelNotFoundError")
        assert json.loads(said.out) == {"error": {"type": "ModelNotFoundError", "message": message}}

    def test_without_it_an_error_leaves_stdout_empty(self, hubserve):
        said = hubserve("models", "nosuch")
        assert said.refused("ModelNotFoundError")
        assert said.out == ""

    def test_stdout_of_a_process_is_the_document_alone(self, small, picture, tmp_path):
        """Whatever the libraries underneath print, from whichever language."""
        run = python("-m", "hubserve", "predict", str(small), str(picture), "--json", home=tmp_path)
        assert run.returncode == 0
        assert list(json.loads(run.stdout)) == [str(picture)]
        assert run.stderr == ""


class TestEnds:
    def test_a_sentence_with_brackets_is_said_as_it_is(self, hubserve):
        """Rich would take [red] for a colour."""
        assert "'[red]x[/red]' is no alias" in hubserve("models", "[red]x[/red]").refused("ModelNotFoundError")

    def test_a_store_that_is_no_folder(self, hubserve, home):
        (home / "models").rmdir()
        (home / "models").write_text("")
        assert "is not a folder" in hubserve("models").refused("StoreError")

    def test_a_fault_of_ours_ends_with_1(self, hubserve, monkeypatch):
        monkeypatch.setattr("hubserve.cli.listings.card_rows", None)
        said = hubserve("models")
        assert said.code == 1
        assert "TypeError" in said.fault

    def test_an_interrupt_ends_with_130(self, hubserve, tiny):
        timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
        # An interrupt that falls into hypothesis' callback of the garbage collector is lost.
        gc.disable()
        timer.start()
        try:
            said = hubserve("profile", tiny, "--percent", "99.9", "--batch-size", "32", "--seconds", "20")
        finally:
            timer.cancel()
            gc.enable()
        assert said.code == 130
        assert said.out == ""
