"""Runs steps that write, each on a small disk that has k bytes left, for several k, and then with space.

`python -m tests.full_disk_steps FOLDER STEP...` runs inside `unshare -rm`: all steps in one process, which imports and exports
once. It prints one JSON object for each step and k: what happened, and the files that were left.
"""

import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from hubserve import jobs, store
from hubserve.cards.card import WeightSource
from hubserve.experiment.journal_file import JournalFileStorage
from hubserve.export.write_package import write_package
from hubserve.hub.download import Download
from hubserve.hub.weight_sources import fetch
from hubserve.package.add_files import add_files
from hubserve.package.package import read_package
from hubserve.storage_faults import storage_error
from hubserve.store import aliases
from hubserve.strategy.oneshot.checkpoint import Identity, write_checkpoint
from hubserve.training.trial_weights import save_weights
from tests.export.nets import small_source
from tests.jobs.definitions import SMALLEST
from tests.stores import small_package, store_at

SIZE_KB = 2000
LEFT_KB = (0, 8, 32, 96)

Step = Callable[[], object]


def publish(disk: Path, outside: Path) -> Step:
    package = small_package()
    return lambda: store.publish(package.path, name="own", version="v1")


def set_alias(disk: Path, outside: Path) -> Step:
    store.publish(small_package().path, name="own", version="v1")
    return lambda: aliases.set_alias("production", "own:v1")


def store_export(disk: Path, outside: Path) -> Step:
    with store_at(outside / "store"):
        store.publish(small_package().path, name="own", version="v1")

    def step() -> None:
        with store_at(outside / "store"):
            store.export_model("own:v1", disk / "own.bentomodel")

    return step


def store_import(disk: Path, outside: Path) -> Step:
    with store_at(outside / "store"):
        store.publish(small_package().path, name="own", version="v1")
        file = store.export_model("own:v1", outside)

    def step() -> None:
        if not store.list_models():
            store.import_model(file)

    return step


def export(disk: Path, outside: Path) -> Step:
    return lambda: write_package(small_source(), disk / "package", overwrite=True)


def profile_in_package(disk: Path, outside: Path) -> Step:
    package = Path(shutil.copytree(small_package().path, disk / "package"))
    return lambda: add_files(read_package(package), {"profile.json": b"{}" + b" " * 9000})


def job(disk: Path, outside: Path) -> Step:
    return lambda: jobs.create(SMALLEST)


def weights(disk: Path, outside: Path) -> Step:
    return lambda: save_weights(torch.nn.Linear(100, 100), disk / "trial")


def one_shot_checkpoint(disk: Path, outside: Path) -> Step:
    return lambda: write_checkpoint(disk / "run", Identity("it", "space", 0, 1, 1), {"weights": torch.zeros(20_000)})


def journal(disk: Path, outside: Path) -> Step:
    import optuna

    def step() -> None:
        study = optuna.create_study(storage=JournalFileStorage(disk / "journal.log"), study_name="it", load_if_exists=True)
        for _ in range(60):
            study.tell(study.ask(), 1.0)

    return step


def download(disk: Path, outside: Path) -> Step:
    content = os.urandom(70_000)
    (outside / "file.bin").write_bytes(content)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(outside))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/file.bin"
    return Download(url, disk / "weights" / "file.bin", hashlib.sha256(content).hexdigest(), progress=False).fetch


def mirror(disk: Path, outside: Path) -> Step:
    content = os.urandom(200_000)
    (outside / "w.pth").write_bytes(content)
    os.environ["HUBSERVE_MIRROR"] = outside.as_uri()
    source = WeightSource(url="http://127.0.0.1:9/w.pth", sha256=hashlib.sha256(content).hexdigest())
    return lambda: fetch(source, progress=False)


def pull(disk: Path, outside: Path) -> Step:
    store.push(small_package().path, (outside / "pushed").as_uri())
    return lambda: store.pull((outside / "pushed").as_uri(), name="own", version="v1")


def pull_to_a_folder(disk: Path, outside: Path) -> Step:
    store.push(small_package().path, (outside / "pushed").as_uri())
    return lambda: store.pull_package((outside / "pushed").as_uri(), disk / "out", overwrite=True)


def push(disk: Path, outside: Path) -> Step:
    return lambda: store.push(small_package().path, (disk / "pushed").as_uri())


STEPS = (
    publish,
    set_alias,
    store_export,
    store_import,
    export,
    profile_in_package,
    job,
    weights,
    one_shot_checkpoint,
    journal,
    download,
    mirror,
    pull,
    pull_to_a_folder,
    push,
)


def fill(disk: Path, left_kb: int) -> Path:
    """Fills the disk but for so much; returns the file."""
    file = disk / "fill"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    file.write_bytes(bytes(max(0, free - 1024 * left_kb)))
    return file


def unfinished(disk: Path) -> list[str]:
    """Hidden, temporary and partial files on the disk, but for locks and numbers."""
    found = [path.relative_to(disk) for path in disk.rglob("*")]
    return [str(p) for p in found if (p.name.startswith(".") and ".number" not in p.name) or ".part" in p.name]


def run(name: str, disk: Path, outside: Path) -> None:
    """Runs one step on a disk of its own, first with little space, then with enough."""
    disk.mkdir()
    outside.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_KB}k", "tmpfs", str(disk)], check=True)
    os.environ["HUBSERVE_HOME"] = str(disk / "home")
    (disk / "home").mkdir()
    with store_at(disk / "bentoml"):
        step = next(step for step in STEPS if step.__name__ == name)(disk, outside)
        for left in LEFT_KB:
            full = fill(disk, left)
            kind, said = outcome(step)
            left_over = unfinished(disk)
            full.unlink()
            note(step=name, left=left, kind=kind, said=said, unfinished=left_over)
            if kind == "done":
                break
        kind, said = outcome(step)  # With space it goes on.
        note(step=name, left=None, kind=kind, said=said, unfinished=unfinished(disk))


def outcome(step: Step) -> tuple[str, str]:
    """The kind and the text of the error that a command would show; ("done", "") without one."""
    try:
        step()
    except Exception as error:
        shown = storage_error(error) or error
        return type(shown).__name__, str(shown)
    return "done", ""


def note(**found: object) -> None:
    print(json.dumps(found), flush=True)


def main(folder: Path, names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as outside:
        for name in names:
            try:
                run(name, folder / name, Path(outside) / name)
            except Exception:
                note(step=name, left=None, kind="failed", said=traceback.format_exc(), unfinished=[])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
