"""Writes results on a disk that is full, then read-only.

`python -m tests.full_disk_results FOLDER` runs inside `unshare -rm`. It prints one JSON object for each writer and disk: what a
command would show, and which files are there afterwards.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

import hubserve.cli.latency_reports
from hubserve.cli.main import app
from hubserve.drawing import draw
from hubserve.errors import OutputError, StorageError
from hubserve.hub import load_card
from hubserve.hub.registry import card_space
from hubserve.latency.profile_report import ProfileReport
from hubserve.pipeline.plots import plot
from tests.full_disk_steps import fill, job, note, outcome, weights
from tests.pipeline.test_plots import SEARCHED

OLD = "the old content"


def profile(path: Path, option: str) -> None:
    """Runs `hubserve profile` on a package of this repository, without the measuring."""
    package = Path(__file__).parent / "golden" / "package"
    report = ProfileReport.model_validate_json((package / "profile.json").read_bytes())
    hubserve.cli.latency_reports.measure_package = lambda *_: report  # type: ignore[assignment]
    ended = CliRunner().invoke(app, ["profile", str(package), option, str(path)])
    kind, _, said = ended.stderr.partition(": ")
    if ended.exit_code:
        raise {"StorageError": StorageError, "OutputError": OutputError}[kind](said.rstrip())


def drawing(path: Path) -> None:
    card = load_card("spos")
    draw(card_space(card), card.arch, path, title="spos")


WRITERS: dict[str, Callable[[Path], None]] = {
    "report.json": lambda path: profile(path, "--save"),
    "report.html": lambda path: profile(path, "--html"),
    "drawing.svg": drawing,
    "drawing.png": drawing,
    "plot.svg": lambda path: plot(SEARCHED, "best", path),
}


def attempt(disk: str, name: str, folder: Path) -> None:
    kind, said = outcome(lambda: WRITERS[name](folder / name))
    files = {path.name: path.read_text("utf-8", "replace") == OLD for path in folder.iterdir() if path.name != "fill"}
    note(disk=disk, name=name, kind=kind, said=said, whole=files == dict.fromkeys(WRITERS, True))


def main(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], check=True)
    os.environ["HUBSERVE_HOME"] = tempfile.mkdtemp(dir=folder.parent)
    for name in WRITERS:
        (folder / name).write_text(OLD)
    full = fill(folder, 4)
    for name in WRITERS:
        attempt("full", name, folder)
    full.unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    for name in WRITERS:
        attempt("read-only", name, folder)
    os.environ["HUBSERVE_HOME"] = str(folder)
    for step in (job, weights):
        kind, said = outcome(step(folder, folder))
        note(disk="read-only", name=step.__name__, kind=kind, said=said, whole=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
