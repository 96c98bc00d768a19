"""Runs that go on after images were added, removed, renamed or replaced: the parts stay, or the run is refused."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from hubserve import jobs, store
from hubserve.data.parts import PINNED
from hubserve.errors import EvaluatorError, JobError, StrategyError
from hubserve.pipeline import resolve_job, run_job
from hubserve.pipeline.pinned_data import ITEMS, reading_of
from tests.data.made_folders import make
from tests.images import noise
from tests.pipeline.definitions import short
from tests.training.finetuning.small import write_images, write_model_and_parts

pytestmark = pytest.mark.slow

SMALL = {"recipe": {"epochs": 1}, "budget": {"trials": 2}, "retrain": None, "publish": None}
COUNTS = {"train": 16, "val": 6, "test": 6}


class Stopped:
    """Ctrl-C at the first status for which `when` holds."""

    def __init__(self, when) -> None:
        self.when = when

    def __call__(self, status) -> None:
        if status.state == "running" and self.when(status):
            raise KeyboardInterrupt


def stopped_in(phase):
    return Stopped(lambda status: status.phase == phase)


def stop(run, when):
    with pytest.raises(KeyboardInterrupt), jobs.hold(run):
        run_job(run, on_status=when)


def pinned(run):
    """Path -> (part, SHA-256) of each image, as the run began."""
    return {row[0]: (row[2], row[4]) for row in json.loads((run.path / PINNED).read_text())["files"]}


def in_parts(root: Path) -> dict:
    for number, (part, count) in enumerate(COUNTS.items()):
        make(root / part, dict.fromkeys(("cat", "dog"), count), first=1000 * number)
    return {"name": "folder", "folder": str(root)}


def drawn(root: Path) -> dict:
    make(root, {"cat": 20, "dog": 20})
    return {"name": "folder", "folder": str(root)}


def in_csv(root: Path) -> dict:
    in_parts(root)
    list_files(root)
    return {"name": "listing", "file": str(root / "list.csv")}


def in_parquet(root: Path) -> dict:
    pytest.importorskip("pyarrow")
    in_parts(root)
    list_files(root)
    return {"name": "listing", "file": str(root / "list.parquet")}


def list_files(root: Path) -> None:
    """Writes both kinds of listings of all images that are there now."""
    rows = [
        {"path": path.relative_to(root).as_posix(), "label": path.parent.name, "split": path.parts[-3]}
        for path in sorted(root.glob("*/*/*.png"))
    ]
    with (root / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "list.parquet")


def change(root: Path, before: dict) -> None:
    """Adds, removes, renames and replaces images, so that a new draw would give others, and names that trained would test."""
    by_part = {part: sorted(file for file, (where, _) in before.items() if where == part) for part in COUNTS}
    trained, tested = by_part["train"], by_part["test"]
    (root / trained[0]).unlink()
    (root / by_part["val"][0]).unlink()
    (root / tested[0]).write_bytes((root / trained[1]).read_bytes())  # A test image is replaced by one that was trained on.
    shutil.copy(root / trained[2], (root / tested[1]).with_name("000 copy.png"))
    (root / tested[2]).rename((root / tested[2]).with_name("renamed.png"))
    (root / trained[3]).with_name("000 new.png").write_bytes(noise(12, seed=9000))
    if (root / "list.csv").exists():
        list_files(root)


@pytest.mark.parametrize("made", [in_parts, drawn, in_csv, in_parquet])
@pytest.mark.parametrize("phase", ["search", pytest.param("test", marks=pytest.mark.long)])
def test_the_parts_stay(tmp_path, made, phase):
    root = tmp_path / "mine"
    data = made(root) | {"settings": {"size": 16, "augment": False}}
    run = jobs.create(short(data=data, **SMALL))
    stop(run, stopped_in(phase))
    before = pinned(run)
    change(root, before)
    status = run_job(run)
    assert status.state == "done"
    assert any("the data have changed since the run began" in note for note in status.notes)
    resolved = resolve_job(
        jobs.parse_job(run.definition(), where="it"), where=tmp_path, reading=reading_of(run, lambda *_: None)
    )
    used = {image.file: (image.part, hashlib.sha256(image.path.read_bytes()).hexdigest()) for image in resolved.scan.images}
    assert used.items() < before.items()
    # Left out: two that are gone, the replaced one, and the renamed one; what is new is not used.
    assert len(before) - len(used) == 4
    found = json.loads((run.path / "package" / "manifest.json").read_text())["provenance"]["search"]["data_found"]
    assert found == json.loads(json.dumps(resolved.scan.outline()))


def test_of_a_data_set_that_was_replaced_nothing_is_used(tmp_path):
    """As where an upload is deleted, and another one gets its name."""
    root = tmp_path / "mine"
    data = in_parts(root) | {"settings": {"size": 16, "augment": False}}
    run = jobs.create(short(data=data, **SMALL))
    stop(run, stopped_in("search"))
    root.rename(tmp_path / "old")
    for number, (part, count) in enumerate(COUNTS.items(), 7):
        make(root / part, dict.fromkeys(("cat", "dog"), count), first=1000 * number)
    with pytest.raises(
        JobError, match=r"^data: .*2 of 2 classes have no image left to train on.*Left out: .*since the run began"
    ):
        run_job(run)
    assert jobs.read(run).state == "refused"
    shutil.rmtree(root)
    (tmp_path / "old").rename(root)
    assert run_job(run).state == "done"


def test_of_a_data_set_of_the_hub_the_parts_stay(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["rose", "daisy"])})

    def push(**seeds):
        for split, numbers in seeds.items():
            rows = [{"image": {"bytes": noise(12, seed=n), "path": None}, "label": n % 2} for n in numbers]
            (tmp_path / "hub" / "data").mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_list(rows, features=kinds).to_parquet(tmp_path / "hub" / "data" / f"{split}-0.parquet")

    push(train=range(20), validation=range(100, 106), test=range(200, 206))
    data = {"name": "hf", "dataset": str(tmp_path / "hub"), "settings": {"size": 16, "augment": False}}
    run = jobs.create(short(data=data, **SMALL))
    stop(run, stopped_in("search"))
    before = pinned(run)
    # A test image becomes one that was trained on, and two are appended.
    push(train=[*range(20), 400, 401], validation=range(100, 106), test=[0, *range(201, 206)])
    status = run_job(run)
    assert status.state == "done"
    found = json.loads((run.path / "package" / "manifest.json").read_text())["provenance"]["search"]["data_found"]
    assert found["images"] == {"train": 20, "val": 6, "test": 5}
    assert found["left_out"] == {"new": 2, "changed": 1}
    assert pinned(run) == before


def test_a_retraining_of_fewer_images_says_why_it_does_not_go_on(tmp_path, monkeypatch):
    """Its learning rate follows the number of steps; once the image is back, it goes on."""
    monkeypatch.setattr("hubserve.pipeline.status_writer.PAUSE_SECONDS", 0.0)
    root = tmp_path / "mine"
    data = in_parts(root) | {"settings": {"size": 16, "augment": False}}
    run = jobs.create(short(data=data, **SMALL | {"retrain": {"epochs": 4, "batch_size": 1}}))
    stop(run, Stopped(lambda status: status.message.startswith("epoch 2 of 4")))
    image = root / "train" / "cat" / "003.png"
    image.rename(tmp_path / "away.png")
    with pytest.raises(EvaluatorError, match=r"of a training of 128 steps, and this one has 124: .* number of training images"):
        run_job(run)
    assert jobs.read(run).state == "failed"
    (tmp_path / "away.png").rename(image)
    assert run_job(run).state == "done"


def test_shared_weights_of_fewer_images_say_why_they_do_not_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("hubserve.pipeline.status_writer.PAUSE_SECONDS", 0.0)
    root = tmp_path / "mine"
    data = in_parts(root) | {"settings": {"size": 16, "augment": False}}
    strategy = {"name": "RandomOneShot", "then": {"name": "Random"}}
    run = jobs.create(short(data=data, **SMALL | {"strategy": strategy, "recipe": {"epochs": 3, "batch_size": 4}}))
    stop(run, Stopped(lambda status: "epoch 2" in status.message))
    for number in (3, 4, 5, 6):
        (root / "train" / "cat" / f"{number:03d}.png").rename(tmp_path / f"{number}.png")
    with pytest.raises(StrategyError, match=r"batches was 8 and is 7; put the settings and the data back as they were"):
        run_job(run)
    for number in (4, 5, 6):
        (tmp_path / f"{number}.png").rename(root / "train" / "cat" / f"{number:03d}.png")
    assert run_job(run).state == "done"  # 31 images in 8 batches.
    package = json.loads((run.path / "package" / "manifest.json").read_text())
    assert package["provenance"]["search"]["data_found"]["images"] == {"train": 31, "val": 12, "test": 12}


@pytest.mark.parametrize(
    "kind", ["fine-tuning", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("fitted", "shared"))]
)
def test_a_fine_tuning_goes_on_with_the_images_that_are_left(tmp_path, kind):
    begun = write_model_and_parts(tmp_path)
    definition = {
        "name": "colours",
        "start": {"model": str(begun / "small")},
        "data": {"name": "folder", "folder": str(begun / "colours")},
        "recipe": {"epochs": 4, "batch_size": 8},
        "publish": {"formats": ["onnx"], "profile_seconds": 0.3},
    }
    if kind != "fine-tuning":
        definition |= {
            "weights": kind,
            "strategy": {"name": "Random"},
            "constraints": {"params": 12_000},
            "budget": {"trials": 2},
        }
    run = jobs.create(yaml.safe_dump(definition))
    stop(run, Stopped(lambda status: len(status.epochs) == 2))
    before = pinned(run)
    trained = sorted(file for file, (part, _) in before.items() if part == "train")
    (begun / "colours" / trained[0]).unlink()
    write_images(begun / "colours" / "test" / "more", 1, seed=77)
    for path in (begun / "colours" / "test" / "more").glob("*/*.png"):
        path.rename(begun / "colours" / "test" / path.parent.name / "new.png")
    shutil.rmtree(begun / "colours" / "test" / "more")
    status = run_job(run)
    assert status.state == "done"
    found = store.resolve(status.published).package.manifest.provenance.fine_tuning["data_found"]
    assert found["images"] == {"train": 32, "val": 3, "test": 15}
    assert found["left_out"] == {"new": 3, "gone or unreadable": 1}


OWN = """
from pathlib import Path

from hubserve.data.digits import digits
from hubserve.data.own_images import own_images


def images(folder: Path):
    return own_images(folder, size=16, augment=False)


def numbers(*, share: float = 1.0):
    from dataclasses import replace
    from torch.utils.data import Subset

    found = digits(size=16, augment=False)
    count = int(Path(__file__).with_name("count").read_text())
    return replace(found, train=Subset(found.train, range(count)))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_changed_data.py").write_text(OWN)
    (tmp_path / "count").write_text("60")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_changed_data", None)  # The module of another test lies in another folder.


def test_a_function_that_divides_images_otherwise_than_when_the_run_began_is_refused(own):
    drawn(own / "mine")
    run = jobs.create(short(data={"name": "own_changed_data:images", "folder": str(own / "mine")}, **SMALL))
    stop(run, stopped_in("search"))
    make(own / "mine", {"cat/more": 3}, first=700)
    with pytest.raises(JobError, match=r"^data: the function .* does not divide the images as when this run began; .*cat/"):
        run_job(run)
    assert jobs.read(run).state == "refused"
    shutil.rmtree(own / "mine" / "cat" / "more")
    assert run_job(run).state == "done"


def test_data_of_ones_own_with_another_number_of_items_are_refused(own):
    run = jobs.create(short(data={"name": "own_changed_data:numbers"}, **SMALL))
    stop(run, stopped_in("search"))
    (own / "count").write_text("59")
    with pytest.raises(JobError, match=r"the items of .* are \{'train': 59, .*began with \{'train': 60, .*: put the data back"):
        run_job(run)
    (own / "count").write_text("60")
    assert run_job(run).state == "done"
    (run.path / ITEMS).write_text("{")
    with pytest.raises(JobError, match=r"data\.json, which says with which data this run began, cannot be read"):
        run_job(run)
