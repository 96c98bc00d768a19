"""`hubserve finetune` as a user runs it, on a small network and small images."""

from __future__ import annotations

import json
import shutil

import pytest

from hubserve import jobs, store
from hubserve.cli.finetune import data_entry, name_of
from hubserve.data import scan
from tests.training.finetuning.small import COLOURS, write_images, write_model_and_images


@pytest.fixture(autouse=True)
def own_home(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    return write_model_and_images(tmp_path_factory.mktemp("begun"))


@pytest.mark.slow
def test_from_the_command_line_to_a_model(hubserve, begun):
    done = hubserve("finetune", begun / "small", begun / "My Colours", "--epochs", 1, "--set", "batch_size=8")
    assert done.code == 0, done.err
    (model,) = store.list_models()
    assert model.tag.startswith("my_colours:")
    assert model.package.labels == tuple(COLOURS)
    assert "test_acc" in done.out
    assert "precision" in done.out
    assert "[fine-tune] estimated: features " in done.err
    assert "Time; features are part of fine-tune" in done.out
    (run,) = jobs.list_runs()
    assert "batch_size: 8" in run.definition()
    answer = json.loads(hubserve("jobs", run.id, "--json").out)
    assert answer["accuracy"]["images"] == model.package.manifest.test.images
    assert [epoch["epoch"] for epoch in answer["epochs"]] == [0, 1]
    assert answer["estimated_seconds"] > 0
    # Of the same data, only the images that were drawn to test it, also where the data have moved.
    moved = shutil.copytree(begun / "My Colours", begun / "moved", dirs_exist_ok=True)
    report = json.loads(hubserve("eval", "my_colours", moved, "--json").out)
    assert (report["drawn"], report["images"]) == (True, answer["accuracy"]["images"])
    assert report["top1"] == pytest.approx(100 * answer["test_acc"])
    assert_same_report(report["accuracy"], json.loads((model.package.path / "accuracy.json").read_text()))
    assert report["trained_on"] == 0
    (moved / "red" / "0.png").unlink()
    report = json.loads(hubserve("eval", "my_colours", moved, "--json").out)
    assert (report["drawn"], report["images"]) == (False, 35)
    assert report["trained_on"] > 20
    assert report["accuracy"]["notes"][0].startswith("this is no test figure: ")
    said = " ".join(hubserve("eval", "my_colours", moved).out.split())
    assert "note: this is no test figure: " in said


def assert_same_report(found, expected):
    """The report of `hubserve eval` in ONNX Runtime, and that of the test phase in PyTorch."""
    worst = [[image.pop("probability") for image in report["worst"]] for report in (found, expected)]
    assert worst[0] == pytest.approx(worst[1], abs=1e-4)
    for name in ("calibration_error", "unscaled_calibration_error"):
        assert found.pop(name) == pytest.approx(expected.pop(name), abs=1e-4)
    assert found.pop("dataset") != expected.pop("dataset")
    assert found == expected


@pytest.mark.slow
def test_the_same_report_of_a_test_folder(hubserve, begun, tmp_path):
    """As accuracy.json in the package; of the folder with the parts, the test part is meant."""
    write_images(tmp_path / "data" / "train", 12)
    write_images(tmp_path / "data" / "test", 9, seed=3)
    done = hubserve("finetune", begun / "small", tmp_path / "data", "--epochs", 1, "--set", "batch_size=8")
    assert done.code == 0, done.err
    (model,) = store.list_models()
    expected = json.loads((model.package.path / "accuracy.json").read_text())
    for data, drawn in ((tmp_path / "data", True), (tmp_path / "data" / "test", False)):
        report = json.loads(hubserve("eval", "data", data, "--json").out)
        assert (report["images"], report["drawn"]) == (27, drawn)
        for image in report["accuracy"]["worst"]:
            image["file"] = f"test/{image['file'].removeprefix('test/')}"
        assert_same_report(report["accuracy"], {**expected, "worst": [dict(image) for image in expected["worst"]]})


def test_a_check_trains_nothing(hubserve, begun):
    done = hubserve("finetune", begun / "small", begun / "My Colours", "--check", "--json")
    facts = json.loads(done.out)
    assert facts["classes"] == "blue, green, red"
    assert facts["budget"] == "10 minutes"
    assert facts["job"]["name"] == "my_colours"
    assert jobs.list_runs() == []


def test_a_listing_is_checked_as_a_folder_is(hubserve, begun):
    """--check=all decodes every image, however many there are."""
    files = sorted((begun / "My Colours").glob("*/*.png"))
    (begun / "list.csv").write_text(
        "path,label\n" + "".join(f"My Colours/{f.parent.name}/{f.name},{f.parent.name}\n" for f in files)
    )
    facts = json.loads(hubserve("finetune", begun / "small", begun / "list.csv", "--check=all", "--json").out)
    assert facts["job"]["data"]["name"] == "listing"
    assert facts["data"].startswith("30 / 3 / 3 images")
    assert (facts["files"], facts["parts"]) == (".png 36", "drawn, seed 0")
    assert facts["job"]["name"] == "list"
    assert jobs.list_runs() == []


def test_check_all_decodes_beyond_the_limit(hubserve, begun, monkeypatch):
    monkeypatch.setattr(scan, "MOST_DECODED", 10)
    for option, words in (("--check", "only the headers of the 36 files were read"), ("--check=all", "")):
        notes = json.loads(hubserve("finetune", begun / "small", begun / "My Colours", option, "--json").out)["notes"]
        assert ("only the headers" in notes) == bool(words)
        assert words in notes


@pytest.mark.parametrize(
    ("data", "entry", "name"),
    [
        ("photos", {"name": "folder", "folder": "photos"}, "photos"),
        ("x/flowers.CSV", {"name": "listing", "file": "x/flowers.CSV"}, "flowers"),
        ("hf://me/flowers:small@v1", {"name": "hf", "dataset": "me/flowers:small@v1"}, "me_flowers"),
    ],
)
def test_what_data_means(data, entry, name):
    assert (data_entry(data), name_of(data)) == (entry, name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "epoch=3"), "recipe.epoch: there is no such key. Did you mean epochs?"),
        (("--set", "mixup"), "--set mixup: expected KEY=VALUE"),
        (("--set", "augment=1", "--set", "augment.mixup=0"), "--set augment.mixup=0: augment is 1 by another --set"),
        (("--set", "augment.mixup=-1"), "recipe.augment.mixup = -1"),
        (("--set", "augment=[}"), "the value is not YAML"),
        (("--fit", "stretch"), "images.fit = 'stretch' is not one of crop, pad, squash"),
        (("--size", 4), "images.size = 4"),
        (("--name", "../x"), "name = '../x'"),
    ],
)
def test_what_is_refused_leaves_no_run(hubserve, begun, options, message):
    assert message in hubserve("finetune", begun / "small", begun / "My Colours", *options).refused("JobError")
    assert jobs.list_runs() == []


def test_nothing_to_resume(hubserve, begun):
    answer = hubserve("finetune", begun / "small", begun / "My Colours", "--resume").refused("JobNotFoundError")
    assert "there is no run of my_colours to resume" in answer


def test_a_model_that_does_not_exist(hubserve, begun):
    answer = hubserve("finetune", "efficientnet-lite1", begun / "My Colours").refused("JobError")
    assert "efficientnet-lite0" in answer
