"""Processes of another user, nobody: only root can start them.

`python -m tests.other_user` runs commands of hubserve in one process: a JSON list of argument lists on stdin, and one JSON
object for each on stdout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent

NOBODY = 65534

_SCRIPT = """
user="setpriv --reuid {nobody} --regid {nobody} --clear-groups"
if ! $user test -r "{base}/bin"; then
    mount --bind "{base}" /mnt
    mount -t tmpfs -o mode=755 tmpfs "{top}"
    mkdir -p "{base}"
    mount --bind /mnt "{base}"
fi
exec $user "$@"
"""
"""Where Python lies in a folder of root's own, the process sees another folder there, with Python alone in it."""


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are open to one user."""
    with tempfile.TemporaryDirectory(prefix="hubserve-users-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def as_nobody(*arguments: object) -> list[str]:
    """The command that runs Python with these arguments as the user nobody; its process id is that of the Python process."""
    tools = [shutil.which(name) for name in ("unshare", "setpriv", "mount")]
    if os.geteuid() != 0 or None in tools or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("only root, on Linux, can act as another user")
    base = Path(sys.base_prefix).resolve()
    script = _SCRIPT.format(nobody=NOBODY, base=base, top=Path(*base.parts[:2]))
    return ["unshare", "-m", "sh", "-ec", script, "sh", sys.executable, *map(str, arguments)]


def environment(folder: Path, **more: object) -> dict[str, str]:
    """The environment of a process of nobody, with a home of its own in `folder`."""
    home = folder / "nobody"
    home.mkdir(exist_ok=True)
    os.chown(home, NOBODY, NOBODY)
    own = {"HOME": home, "HUBSERVE_HOME": home / "hubserve", "TMPDIR": home, "PYTHONPATH": ROOT, "BENTOML_DO_NOT_TRACK": True}
    return os.environ | {name: str(value) for name, value in {**own, **more}.items()}


def run_as_nobody(commands: Sequence[Sequence[object]], variables: Mapping[str, str], cwd: Path) -> list[dict[str, Any]]:
    """What each command of hubserve said: "code", "out" and "err"; an unexpected error has its traceback in "fault"."""
    given = json.dumps([list(map(str, command)) for command in commands])
    ran = subprocess.run(
        as_nobody("-m", "tests.other_user"), input=given, capture_output=True, text=True, env=variables, cwd=cwd, timeout=280
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    from typer.testing import CliRunner

    from hubserve.cli import app

    for arguments in json.load(sys.stdin):
        result = CliRunner(env={"COLUMNS": "300"}).invoke(app, arguments, prog_name="hubserve")
        unexpected = result.exc_info if result.exception and not isinstance(result.exception, SystemExit) else None
        fault = "".join(traceback.format_exception(*unexpected)) if unexpected else ""
        print(json.dumps({"code": result.exit_code, "out": result.stdout, "err": result.stderr, "fault": fault}), flush=True)


if __name__ == "__main__":
    main()
