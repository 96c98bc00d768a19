"""`hubserve eval` on images that the model was trained on: how many, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from hubserve import jobs
from hubserve.cli.trained_on import trained_on
from hubserve.data.image_folder import LabelledImages
from hubserve.data.parts import PINNED, PinnedFile, PinnedParts
from hubserve.package.manifest import Provenance
from tests.stores import tiny_package

JOB = {"name": "pets", "start": {"model": "small"}, "data": {"name": "folder", "folder": "x"}}
DATA = {"images": {"train": 3, "val": 1, "test": 1}, "sha256": "0" * 64, "parts": "drawn"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose data are five images: three to train, one to validate, one to test."""
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    run = jobs.create(yaml.safe_dump(JOB))
    parts = ("train", "train", "train", "val", "test")
    files = tuple(PinnedFile(f"a/{i}.png", 0, part, i + 1, None) for i, part in enumerate(parts))
    PinnedParts(("a",), "drawn", 0, "0" * 64, files).write(run.path / PINNED)
    return run


@pytest.fixture
def files(tmp_path):
    """The five images, and one that is new."""
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * (i + 1))
    return [(path, 0) for path in paths]


def trained(run_id: str, **more: object):
    provenance = Provenance(origin="fine-tuning", fine_tuning={"run": run_id, "data_found": DATA, **more})
    package = tiny_package()
    return replace(package, manifest=package.manifest.model_copy(update={"provenance": provenance}))


def images(files, **more) -> LabelledImages:
    return LabelledImages(tuple(files), "label", files[0][0].parent, **more)


def test_images_of_the_training_are_counted(run, files):
    found = trained_on(trained(run.id), images(files))
    assert found.images == 4
    assert found.note.startswith("this is no test figure: 3 of these 6 images trained the model, and 1 validated it; ")


@pytest.mark.parametrize("place", [4, 5])
def test_images_that_were_not_trained_on_need_no_word(run, files, place):
    found = trained_on(trained(run.id), images([files[place]]))
    assert (found.images, found.note) == (0, None)


def test_a_part_that_was_given_is_looked_at_too(run, files):
    assert trained_on(trained(run.id), images(files[:1], part="test")).images == 1


def test_those_that_were_drawn_to_test_it(run, files):
    found = trained_on(trained(run.id), images(files, drawn=True, part="test"))
    assert (found.images, found.note) == (0, None)


def test_a_run_that_is_not_here(run, files):
    found = trained_on(trained("pets-20260101-000000-00000000"), images(files))
    assert found.images is None
    assert "it is not known whether the model was trained on some of these images" in found.note
    assert "the run pets-20260101-000000-00000000, which has the list of those, is not on this machine" in found.note
    assert trained_on(trained("other"), images(files, part="test")).note is None


@pytest.mark.parametrize("data", [{}, {"symbols": ["a"]}])
def test_models_of_other_data_need_no_word(run, files, data):
    found = trained_on(trained(run.id, data_found=data), images(files))
    assert (found.images, found.note) == (None, None)
    assert trained_on(tiny_package(), images(files)).note is None
