"""`hubserve predict --out`: rows for all images, going on after a kill, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from hubserve.load_classifier import load
from hubserve.package.package import read_package
from hubserve.service.engine import Engine
from tests.images import noise, photo

FORMATS = ("csv", "jsonl", "parquet")
BAD = {
    "bad/text.jpg": b"hello",
    "bad/empty.png": b"",
    "bad/cut.jpg": photo("coffee")[:3000],
    "bad/huge.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\xff\xff\xff\0\xff\xff\xff\x08\2\0\0\0",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """60 images that can be read, and every kind of file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    files = {f"{'cats' if i % 2 else 'dogs'}/{i:03}.png": noise(20, i) for i in range(58)}
    files |= {"cup.jpg": photo("coffee"), "line\nbreak, comma.jpg": photo("chelsea")} | BAD
    files |= {"._cup.jpg": b"x", "@eaDir/cup.jpg": photo("coffee"), ".hidden/x.jpg": photo("coffee"), "notes.txt": b"x"}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def rows_of(out: Path) -> list[dict]:
    if out.suffix == ".parquet":
        rows = pyarrow.parquet.read_table(out).to_pylist()
    elif out.suffix == ".jsonl":
        rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    else:
        rows = list(csv.DictReader(io.StringIO(out.read_bytes().decode(), newline="")))
    return [{name: value for name, value in row.items() if value not in (None, "")} for row in rows]


@pytest.mark.parametrize("kind", FORMATS)
def test_each_image_has_a_row_as_the_engine_answers(hubserve, small, folder, tmp_path, kind):
    out = tmp_path / f"o.{kind}"
    summary = hubserve("predict", small, folder, "--out", out, "--top-k", 2, "--workers", 2, "--json").json()
    assert (summary["out"], summary["model"], summary["images"], summary["continued"]) == (str(out), "small", 64, 0)
    assert summary["unreadable"] == 4
    assert set(summary["first_unreadable"]) == set(BAD)
    assert summary["left_out"] == {"ending .txt": 1, "hidden": 3}
    rows = {row["path"]: row for row in rows_of(out)}
    assert len(rows) == 64
    engine = Engine(read_package(small), device="cpu")
    for name, row in rows.items():
        if name in BAD:
            assert set(row) == {"path", "error"}
            continue
        for suffix, expected in zip(
            ("", "_2"), engine.classify((folder / name).read_bytes(), top_k=2).predictions, strict=True
        ):
            assert (row[f"label{suffix}"], int(row[f"index{suffix}"])) == (expected.label, expected.index)
            assert float(row[f"probability{suffix}"]) == pytest.approx(expected.probability, abs=1e-5)
    assert rows["bad/text.jpg"]["error"].startswith("5 bytes that are not a readable image")
    assert "line\nbreak, comma.jpg" in rows
    left = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "o.")))
    assert left == [f"o.{kind}", f"o.{kind}.run.json"]


KILLED = """
import os, signal, sys
from hubserve.batch import run
from hubserve.cli import app

run.PART_ROWS = 8
real = run.write_record

def write(out, record):
    if record.rows >= 24:  # The rows of the third part are written, and the record does not say so yet.
        os.kill(os.getpid(), signal.SIGKILL)
    real(out, record)

run.write_record = write
app(sys.argv[1:])
"""


@pytest.mark.parametrize("kind", FORMATS)
def test_after_kill_9_a_second_call_goes_on_with_the_same_rows(hubserve, small, folder, tmp_path, kind):
    whole, out = tmp_path / f"whole.{kind}", tmp_path / f"o.{kind}"
    more = ("--features",) if kind == "parquet" else ()
    hubserve("predict", small, folder, "--out", whole, *more).fine()
    command = [sys.executable, "-c", KILLED, "predict", str(small), str(folder), "--out", str(out), *more]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert json.loads((tmp_path / f"o.{kind}.run.json").read_text())["rows"] == 16
    if kind == "parquet":
        assert not out.exists()
    else:
        with out.open("ab") as file:
            file.write(b'"half a li')
    summary = hubserve("predict", small, folder, "--out", out, *more, "--json").json()
    assert (summary["images"], summary["continued"], summary["unreadable"]) == (64, 16, 4)
    if kind == "parquet":
        assert pyarrow.parquet.read_table(out).equals(pyarrow.parquet.read_table(whole))
    else:
        assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_finished_output_stays_and_new_images_are_added(hubserve, small, tmp_path, kind):
    photos, out = tmp_path / "photos", tmp_path / f"o.{kind}"
    photos.mkdir()
    (photos / "1.png").write_bytes(noise())
    for images, continued in ((1, 0), (1, 1)):
        summary = hubserve("predict", small, photos, "--out", out, "--json").json()
        assert (summary["images"], summary["continued"]) == (images, continued)
    (photos / "0.png").write_bytes(noise(seed=1))
    summary = hubserve("predict", small, photos, "--out", out, "--json").json()
    assert (summary["images"], summary["continued"]) == (2, 1)
    assert [row["path"] for row in rows_of(out)] == ["1.png", "0.png"]


def test_features(hubserve, small, folder, tmp_path):
    expected = load(small).features(folder / "cup.jpg").numpy()
    document = hubserve("predict", small, folder / "cup.jpg", "--features").json()
    (answer,) = document.values()
    assert len(answer["predictions"]) == 5
    found = [answer["features"]]
    for kind in ("jsonl", "parquet"):
        hubserve("predict", small, folder, "--out", tmp_path / f"o.{kind}", "--features").fine()
        rows = {row["path"]: row for row in rows_of(tmp_path / f"o.{kind}")}
        assert "features" not in rows["bad/text.jpg"]
        found.append(rows["cup.jpg"]["features"])
    for features in found:
        np.testing.assert_allclose(features, expected, atol=1e-4 * expected.std())
    message = hubserve("predict", small, folder, "--out", tmp_path / "o.csv", "--features").refused("OutputError")
    assert "features are a list of numbers, which CSV has no column for; write .parquet or .jsonl" in message


class TestRefused:
    @pytest.fixture
    def photos(self, tmp_path) -> Path:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "1.png").write_bytes(noise())
        return tmp_path / "photos"

    def test_an_output_that_something_else_wrote(self, hubserve, small, photos, tmp_path):
        (tmp_path / "o.csv").write_text("mine")
        message = hubserve("predict", small, photos, "--out", tmp_path / "o.csv").refused("OutputError")
        assert message.startswith(f"{tmp_path}/o.csv exists, and there is no o.csv.run.json that says what wrote it")
        assert (tmp_path / "o.csv").read_text() == "mine"
        hubserve("predict", small, photos, "--out", tmp_path / "o.csv", "--restart").fine()
        assert len(rows_of(tmp_path / "o.csv")) == 1

    def test_other_settings(self, hubserve, small, photos, tmp_path):
        out = tmp_path / "o.jsonl"
        hubserve("predict", small, photos, "--out", out).fine()
        message = hubserve("predict", small, photos, "--out", out, "--top-k", 3).refused("OutputError")
        assert "it is not continued: top_k was 5 and is 3; give the same ones" in message
        message = hubserve("predict", small, photos / "1.png", "--out", out).refused("OutputError")
        assert f"images was '{photos}' and is '{photos}/1.png'" in message
        other = shutil.copytree(small, tmp_path / "other")
        manifest = json.loads((other / "manifest.json").read_text()) | {"temperature": 2.0}
        (other / "manifest.json").write_text(json.dumps(manifest))
        message = hubserve("predict", other, photos, "--out", out).refused("OutputError")
        assert "model was 'small " in message
        hubserve("predict", other, photos, "--out", out, "--restart").fine()

    def test_an_output_that_was_changed(self, hubserve, small, photos, tmp_path):
        out = tmp_path / "o.csv"
        hubserve("predict", small, photos, "--out", out).fine()
        out.write_text("path")
        message = hubserve("predict", small, photos, "--out", out).refused("OutputError")
        assert "was changed after it was written: it has 4 bytes" in message
        (tmp_path / "o.csv.run.json").write_text("{")
        message = hubserve("predict", small, photos, "--out", out).refused("OutputError")
        assert "o.csv.run.json cannot be read as the record of a run; give --restart" in message

    def test_no_image_and_no_readable_one(self, hubserve, small, tmp_path):
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "x.txt").write_text("x")
        command = ("predict", small, tmp_path / "photos", "--out", tmp_path / "o.csv")
        assert hubserve(*command).refused("DatasetError") == f"{tmp_path}/photos has no image; left out: 1 ending .txt (x.txt)"
        assert not list(tmp_path.glob("o.csv*"))
        (tmp_path / "photos" / "x.jpg").write_text("x")
        message = hubserve(*command).refused("DatasetError")
        assert message == f"none of the 1 images is readable; {tmp_path}/o.csv has the reason for each"
        assert rows_of(tmp_path / "o.csv")[0]["path"] == "x.jpg"

    def test_names_and_options(self, hubserve, small, photos, tmp_path, monkeypatch):
        message = hubserve("predict", small, photos, "--out", "o.txt").refused("OutputError")
        assert "ends with one of .parquet, .csv, .jsonl" in message
        message = hubserve("predict", small, photos, "--out", tmp_path / "no" / "o.csv").refused("OutputError")
        assert "there is no folder" in message
        message = hubserve("predict", small, photos).refused("ImageError")
        assert message.startswith(f"{photos} is a folder: to classify its images, say where the rows go, with --out")
        assert hubserve("predict", small, photos, "--restart").refused("OutputError") == "--restart goes with --out FILE"
        assert "top_k = 8" in hubserve("predict", small, photos, "--out", "o.csv", "--top-k", 8).refused("TopKError")
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        said = hubserve("predict", small, photos, "--out", tmp_path / "o.parquet")
        assert "pip install 'hubserve[parquet]'" in said.refused("MissingExtraError")

    def test_a_package_without_features(self, hubserve, folder, tmp_path):
        golden = Path(__file__).parent.parent / "golden" / "package"
        for more in ((folder, "--out", tmp_path / "o.jsonl"), (folder / "cup.jpg",)):
            assert "export it again" in hubserve("predict", golden, *more, "--features").refused("NoFeaturesError")

    def test_a_second_writer(self, hubserve, small, photos, tmp_path):
        from hubserve.batch.run_record import only_writer

        with only_writer(tmp_path / "o.csv"):
            message = hubserve("predict", small, photos, "--out", tmp_path / "o.csv").refused("OutputError")
        assert message == f"another process writes {tmp_path}/o.csv at the moment"


def test_torch_is_not_imported(small, folder, tmp_path):
    code = (
        "import sys; from hubserve.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "predict", str(small), str(folder), "--out", str(tmp_path / "o.csv")]
    subprocess.run(command, check=True, capture_output=True)
