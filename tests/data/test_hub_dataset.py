"""Data sets of the Hugging Face hub, here of local files that the library `datasets` reads without a network."""

from __future__ import annotations

import io
import os

import huggingface_hub.constants
import pytest
from PIL import Image

from hubserve.data.listing_rows import Columns
from hubserve.data.scan import scan
from hubserve.errors import DatasetError
from hubserve.evaluator import load_dataset
from tests.images import noise

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HUBSERVE_HOME", str(folder))
    monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "hf"))
    return folder


@pytest.fixture
def flowers(tmp_path):
    """A data set with its images in Parquet files, as on the hub: train, validation and test, one image without a label."""
    kinds = datasets.ClassLabel(names=["rose", "daisy"])
    features = datasets.Features({"image": datasets.Image(), "label": kinds, "note": datasets.Value("string")})
    for split, count, first in (("train", 12, 0), ("validation", 4, 100), ("test", 6, 200)):
        rows = {
            "image": [{"bytes": noise(12, seed=first + n), "path": None} for n in range(count)],
            "label": [-1 if (split, n) == ("test", 0) else n % 2 for n in range(count)],
            "note": [""] * count,
        }
        (tmp_path / "data").mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / f"{split}-0.parquet")
    return tmp_path


def test_images_are_written_once_and_read_like_ones_own(flowers, home):
    found = scan(f"hf://{flowers}")
    assert not huggingface_hub.constants.HF_HUB_OFFLINE, "other requests of this process may be sent"
    assert (found.source, found.classes, found.how) == ("hf", ("daisy", "rose"), "given")
    assert {part: sum(counts) for part, counts in found.counts.items()} == {"train": 12, "val": 4, "test": 5}
    assert Image.open(io.BytesIO(found.images[0].path.read_bytes())).size == (12, 12)
    assert found.images[0].path.is_relative_to(home / "datasets")
    written = {path: os.stat(path).st_mtime_ns for path in (home / "datasets").rglob("*")}
    assert scan(f"hf://{flowers}").images == found.images
    assert {path: os.stat(path).st_mtime_ns for path in (home / "datasets").rglob("*")} == written
    data = load_dataset("hf", str(flowers), size=16)
    assert (data.labels, len(data.test)) == (("daisy", "rose"), 5)


def test_columns(flowers):
    with pytest.raises(DatasetError, match=r"no column 'lable'. Did you mean label"):
        scan(f"hf://{flowers}", columns=Columns(label="lable"))
    with pytest.raises(DatasetError, match=r"the column 'note' holds no images"):
        scan(f"hf://{flowers}", columns=Columns(image="note"))


def test_what_cannot_be_had(tmp_path):
    with pytest.raises(DatasetError, match="the data set nobody/has-this of the Hugging Face hub cannot be loaded"):
        scan("hf://nobody/has-this")
    with pytest.raises(DatasetError, match="names no data set; write hf://owner/name"):
        scan("hf://:config")
