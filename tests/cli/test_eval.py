"""`hubserve eval` over a small folder of class folders."""

from __future__ import annotations

import re

import pytest

from hubserve import store
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.package.package import read_package
from hubserve.preprocess import decode_image
from tests.images import noise, photo
from tests.service.conftest import free_port
from tests.stores import service_over

RANKS = (0, 0, 0, 1, 3, 4, 5, 6)
"""Where the right class of each picture shall be in the model's own order: 3 of 8 are right, 6 among the best five."""


@pytest.fixture
def folder(tmp_path, small):
    """Each picture lies in the folder of the class that the model ranks so."""
    package = read_package(small)
    model = EagerRunner(rebuild_model(package))
    pictures = [photo(name) for name in ("chelsea", "coffee", "astronaut", "rocket")] + [noise(seed=i) for i in range(4)]
    for i, (data, rank) in enumerate(zip(pictures, RANKS, strict=True)):
        logits = model(package.manifest.preprocess.reference(decode_image(data))[None])[0]
        path = tmp_path / "classes" / package.labels[(-logits).argsort()[rank]] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "classes"


FIELDS = [
    "model",
    "backend",
    "images",
    "top1_hits",
    "top5_hits",
    "top1",
    "top5",
    "top1_interval",
    "rule",
    "unreadable",
    "seconds",
    "drawn",
    "trained_on",
    "accuracy",
]


@pytest.mark.parametrize("backend", ["onnx", "torchscript", "pt2", "eager"])
def test_whatever_runs_it(hubserve, small, folder, backend):
    document = hubserve("eval", small, folder, "--backend", backend, "--json").json()
    assert list(document) == FIELDS
    assert (document["images"], document["top1_hits"], document["top5_hits"]) == (8, 3, 6)
    assert (document["top1"], document["top5"]) == (37.5, 75)
    assert (document["model"], document["backend"], document["rule"]) == (str(small), backend, "label")


@pytest.mark.parametrize("backend", ["torchscript", "pt2"])
def test_a_program_of_a_stranger_needs_trust(hubserve, small, folder, tmp_path, monkeypatch, backend):
    store.publish(small, name="brought")
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "another user"))
    arguments = ("eval", "brought", folder, "--backend", backend)
    assert "say so with --trust" in hubserve(*arguments).refused("PackageError")
    assert hubserve(*arguments, "--trust", "--json").json()["top1_hits"] == 3


def test_onnx_unless_told_and_any_batch(hubserve, small, folder):
    for batch_size in (1, 3, 100):
        document = hubserve("eval", small, folder, "--batch-size", batch_size, "--json").json()
        assert (document["backend"], document["top1_hits"], document["top5_hits"]) == ("onnx", 3, 6)


def test_the_table_has_the_counts(hubserve, small, folder):
    said = hubserve("eval", small, folder).fine()
    assert re.search(r"top-1 +│ 37\.50 %  \(3 of 8; 95 % interval 13\.7 to 69\.4\)", said)
    assert re.search(r"top-5 +│ 75\.00 %  \(6 of 8\)", said)
    assert re.search(r"folders are classes by +│ label", said)
    assert "unreadable" not in said


def test_the_tables_are_those_of_a_job(hubserve, small, folder):
    said = hubserve("eval", small, folder).fine()
    assert re.search(r"calibration +│ error 0\.\d{3}", said)
    for title in ("Classes", "Confused most often", "Wrong with the largest probability"):
        assert title in said
    assert "note: fewer than 20 test images of" in said


def test_the_confusion_matrix_is_drawn_into_a_file(hubserve, small, folder, tmp_path):
    file = tmp_path / "matrix.svg"
    assert "matrix.svg" in hubserve("eval", small, folder, "--confusion", file).fine()
    text = file.read_text()
    assert all(words in text for words in ("kind 0", "kind 6", "true class", "small on"))
    message = hubserve("eval", small, folder, "--confusion", tmp_path / "matrix.txt").refused("ExperimentError")
    assert message.endswith("its name must end in one of .svg, .png, .pdf")
    message = hubserve("eval", small, folder, "--confusion", tmp_path / "none" / "matrix.svg").refused("OutputError")
    assert "there is no folder" in message


def test_unreadable_pictures_are_named_and_left_out(hubserve, small, folder):
    broken = folder / "kind 0" / "broken.jpg"
    broken.parent.mkdir(exist_ok=True)
    broken.write_text("no picture")
    document = hubserve("eval", small, folder, "--json").json()
    assert document["unreadable"] == [str(broken)]
    assert (document["images"], document["top1_hits"]) == (8, 3)
    assert re.search(rf"unreadable +│ {re.escape(str(broken))}", hubserve("eval", small, folder).fine())


def test_a_version_in_the_store(hubserve, small, folder):
    tag = store.publish(small).tag
    document = hubserve("eval", tag, folder, "--json").json()
    assert (document["model"], document["top1_hits"]) == (tag, 3)


def test_a_running_service(hubserve, small, folder, home):
    store.publish(small)
    with service_over(home) as url:
        document = hubserve("eval", "small", folder, "--url", url, "--json").json()
    assert (document["backend"], document["top1_hits"], document["top5_hits"]) == ("http", 3, 6)
    here = hubserve("eval", small, folder, "--json").json()["accuracy"]
    assert document["accuracy"]["confusion"] == here["confusion"]
    assert document["accuracy"]["calibration_error"] == pytest.approx(here["calibration_error"], rel=1e-4)


class TestRefused:
    def test_a_service_that_is_not_there(self, hubserve, small, folder):
        store.publish(small)
        url = f"http://127.0.0.1:{free_port()}"
        message = hubserve("eval", "small", folder, "--url", url).refused("DatasetError")
        assert message.startswith(f"{url}/classify does not answer: ConnectError")

    def test_folders_that_are_no_classes(self, hubserve, small, tmp_path):
        (tmp_path / "classes" / "rose").mkdir(parents=True)
        message = hubserve("eval", small, tmp_path / "classes").refused("DatasetError")
        assert "folder 'rose' is neither a WordNet id nor one of the model's 7 labels (such as 'kind 0')" in message

    def test_no_folder(self, hubserve, small):
        message = hubserve("eval", small, "nosuch").refused("DatasetError")
        assert message == "nosuch is not a folder; expected one with a sub-folder for each class"

    def test_no_images(self, hubserve, small, tmp_path):
        (tmp_path / "classes" / "kind 0").mkdir(parents=True)
        assert "no image in them" in hubserve("eval", small, tmp_path / "classes").refused("DatasetError")

    def test_a_form_that_the_package_does_not_have(self, hubserve, tiny, folder):
        assert "has no onnx; it has torchscript" in hubserve("eval", tiny, folder).refused("PackageError")

    def test_no_such_model(self, hubserve, folder):
        hubserve("eval", "nosuch", folder).refused("ModelNotFoundError")
