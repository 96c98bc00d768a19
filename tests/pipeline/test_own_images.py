"""Jobs on one's own images: from every kind of source, with parts that a run keeps, and with images that are no squares."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hubserve import jobs, store
from hubserve.data.parts import PINNED
from hubserve.errors import JobError
from hubserve.export.model_source import arch_source
from hubserve.export.rebuild_model import rebuild_model
from hubserve.export.write_package import write_package
from hubserve.hub.registry import get_space
from hubserve.jobs import JobLimits, parse_job
from hubserve.pipeline import resolve_job, run_job
from hubserve.preprocess import decode_image
from hubserve.service.engine import Engine
from tests.data.made_folders import make
from tests.pipeline.definitions import short
from tests.pipeline.test_run import Interrupt
from tests.training.finetuning.small import PREPROCESS, SETTINGS, start


def search_on(data, **changes):
    return short(data=data, recipe={"epochs": 1}, retrain=None, publish=None, **changes)


def settings(**more):
    return {"settings": {"size": 16, "augment": False, **more}}


def test_sources(tmp_path):
    make(tmp_path / "mine", {"cat": 10, "dog": 10})
    (tmp_path / "list.csv").write_text(
        "path,label\n" + "".join(f"mine/{name}/{n:03d}.png,{name}\n" for name in ("cat", "dog") for n in range(10))
    )
    found = {}
    for name, place in (("folder", {"folder": "mine"}), ("listing", {"file": "list.csv"})):
        job = parse_job(search_on({"name": name, **place, **settings()}), where="it")
        resolved = resolve_job(job, where=tmp_path)
        found[name] = [(image.path, image.label, image.part) for image in resolved.scan.images]
        facts = resolved.facts()
        assert facts["data"] == f"{name}: 16 / 2 / 2 images to train, validate, test"
        assert (facts["files"], facts["parts"]) == (".png 20", "drawn, seed 0")
    assert found["folder"] == found["listing"]


def test_data_as_a_text():
    for text, entry in {
        "digits": {"name": "digits"},
        "photos/flowers": {"name": "folder", "folder": Path("photos/flowers")},
        "flowers.CSV": {"name": "listing", "file": Path("flowers.CSV")},
        "flowers.parquet": {"name": "listing", "file": Path("flowers.parquet")},
        "hf://me/flowers:small@v1": {"name": "hf", "dataset": "me/flowers:small@v1"},
    }.items():
        given = parse_job(search_on(text), where="it").data
        assert given.model_dump(exclude_defaults=True) == entry


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "listing"}, "the data set 'listing' needs file"),
        ({"name": "hf"}, "the data set 'hf' needs dataset"),
        ({"name": "folder", "file": "x.csv"}, "file is given, and the data set 'folder' has folder"),
        ({"name": "listing", "file": "x.csv", "folder": "x"}, "folder is given, and the data set 'listing' has file"),
        (
            {"name": "listing", "file": "nosuch.csv"},
            r"^data: .*needs a file that ends in .csv, .tsv, .parquet, and .*nosuch.csv is none",
        ),
        ({"name": "folder", "folder": "mine", "settings": {"chek": "all"}}, "has no setting 'chek'. Did you mean check"),
        ({"name": "folder", "folder": "mine", "settings": {"check": "some"}}, "check = 'some'"),
        ({"name": "folder", "folder": "mine", "settings": {"label_column": "x"}}, "is a folder, which has no columns"),
        ({"name": "folder", "folder": "mine", "settings": {"reading": 1}}, "has no setting 'reading'"),
    ],
)
def test_what_is_refused(tmp_path, data, message):
    make(tmp_path / "mine", {"cat": 10, "dog": 10})
    with pytest.raises(JobError, match=message):
        resolve_job(parse_job(search_on(data), where="it"), where=tmp_path)


def test_over_http_files_outside_of_the_roots_are_not_read(tmp_path):
    make(tmp_path / "data", {"images": 4})
    make(tmp_path / "secret", {"": 1})
    (tmp_path / "data/list.csv").write_text("path,label\nimages/000.png,a\n../secret/000.png,b\n")
    limits = JobLimits(roots=(tmp_path / "data",))
    job = parse_job(search_on({"name": "listing", "file": "list.csv", **settings()}), where="it")
    with pytest.raises(JobError, match=r"row 3 names a file outside of the folders that this server allows"):
        resolve_job(job, where=tmp_path / "data", limits=limits)
    job = parse_job(search_on({"name": "hf", "dataset": "me/flowers"}), where="it")
    with pytest.raises(JobError, match=r"^data.dataset: over HTTP nothing is downloaded"):
        resolve_job(job, where=tmp_path / "data", limits=limits)


@pytest.mark.slow
def test_a_run_that_goes_on_is_not_tested_on_images_that_it_trained_on(tmp_path):
    make(tmp_path / "mine", {"cat": 20, "dog": 20})
    run = jobs.create(search_on({"name": "folder", "folder": str(tmp_path / "mine"), **settings()}))
    with pytest.raises(KeyboardInterrupt), jobs.hold(run):
        run_job(run, on_status=Interrupt("search"))
    before = {row[0]: row[2] for row in json.loads((run.path / PINNED).read_text())["files"]}
    # Files that go and come would shift a new draw.
    gone = [file for file in before if file.startswith("cat/")][:5]
    for file in gone:
        (tmp_path / "mine" / file).unlink()
    make(tmp_path / "mine", {"dog/more": 5}, first=500)
    status = run_job(run)
    assert status.state == "done"
    assert any("the data have changed since the run began: 10 files" in note for note in status.notes)
    found = json.loads((run.path / "package" / "manifest.json").read_text())["provenance"]["search"]
    left = [part for file, part in before.items() if file not in gone]
    assert found["data_found"]["images"] == {part: left.count(part) for part in ("train", "val", "test")}
    assert found["data_found"]["left_out"] == {"new": 5, "gone or unreadable": 5}


def test_parts_that_cannot_be_read_end_a_run(tmp_path):
    make(tmp_path / "mine", {"cat": 20, "dog": 20})
    run = jobs.create(search_on({"name": "folder", "folder": str(tmp_path / "mine"), **settings()}))
    (run.path / PINNED).write_text("{")
    with pytest.raises(JobError, match=r"data: .*parts.json, which pins each image to its part, cannot be read"):
        run_job(run)
    assert jobs.read(run).state == "refused"


KINDS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


def long_images(root, count, seed):
    """100 x 600 pixels of noise, the colour of the class at one end alone."""
    rng = np.random.default_rng(seed)
    for name, colour in KINDS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.normal(128, 20, (600, 100, 3))
            pixels[:110] = rng.normal(colour, 20, (110, 100, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{number}.png")


def fine_tuned(folder, name, **images):
    definition = {
        "name": name,
        "start": {"model": str(folder / "small")},
        "data": str(folder / "long"),
        "images": {"size": 32, **images},
        "recipe": {"epochs": 8, "batch_size": 8},
        "publish": {"formats": ["onnx"], "profile_seconds": 0.3},
    }
    return run_job(jobs.create(yaml.safe_dump(definition)))


@pytest.mark.long
def test_long_images_are_learnt_whole(tmp_path):
    """What is proposed for them learns them; a centre crop cannot. All ways to ask the model answer alike."""
    space = get_space("ProxylessNAS", SETTINGS)
    source = arch_source(space, SETTINGS, space.random(Random(1)), name="small", preprocess=PREPROCESS)
    body = {name: tensor for name, tensor in start(classes=5).model.state_dict().items() if "classifier" not in name}
    source.model.load_state_dict(body, strict=False)
    write_package(source, tmp_path / "small", formats=("onnx",))
    for part, count in (("train", 24), ("val", 6), ("test", 20)):
        long_images(tmp_path / "long" / part, count, seed=count)
    found = {
        fit or "proposed": fine_tuned(tmp_path, fit or "proposed", **({"fit": fit} if fit else {}))
        for fit in (None, "pad", "crop")
    }
    assert any(
        "fit = squash: 100% of the 150 images are over 1.5 times as long as wide" in note for note in found["proposed"].notes
    )
    accuracy = {name: status.test_acc for name, status in found.items()}
    assert accuracy["proposed"] > 0.9
    assert accuracy["pad"] > 0.9
    assert accuracy["crop"] < 0.6
    for name in ("proposed", "pad"):
        package = store.resolve(found[name].published).package
        assert package.manifest.preprocess.fit == {"proposed": "squash", "pad": "pad"}[name]
        agree(package, sorted((tmp_path / "long" / "test").glob("*/1*.png")))


def agree(package, paths):
    """Service, packaged script and eager PyTorch give the same probabilities."""
    command = [sys.executable, str(package.path / "run_onnx.py"), "--json", "--top", "3", *map(str, paths)]
    script = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    model, engine, record = rebuild_model(package), Engine(package), package.manifest.preprocess
    for path in paths:
        served = {answer.label: answer.probability for answer in engine.classify(path.read_bytes(), top_k=3).predictions}
        assert dict(script[str(path)]) == pytest.approx(served, abs=1e-4)
        with torch.no_grad():
            logits = model(torch.from_numpy(record.reference(decode_image(path.read_bytes())))[None])
        scale = package.manifest.temperature if hasattr(package.manifest, "temperature") else None
        eager = torch.softmax(logits[0].double() / (scale or 1.0), 0)
        assert dict(zip(package.labels, eager.tolist(), strict=True)) == pytest.approx(served, abs=1e-3)
