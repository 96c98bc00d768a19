"""`hubserve predict`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hubserve import store
from hubserve.package.package import read_package
from hubserve.service.engine import Engine
from hubserve.store import aliases
from tests.images import noise, photo
from tests.stores import tiny_package


def expected(small, data, **options):
    return [p.model_dump() for p in Engine(read_package(small), device="cpu").classify(data, **options).predictions]


def test_as_the_engine_answers(hubserve, small, tmp_path):
    files = {str(tmp_path / "cat.jpg"): photo("chelsea"), str(tmp_path / "noise.png"): noise()}
    for path, data in files.items():
        (tmp_path / path).write_bytes(data)
    document = hubserve("predict", small, *files, "--json").json()
    assert list(document) == list(files)
    for path, data in files.items():
        for found, wanted in zip(document[path], expected(small, data), strict=True):
            assert found == {**wanted, "probability": pytest.approx(wanted["probability"], abs=1e-5)}


def test_the_table(hubserve, small, picture):
    said = hubserve("predict", small, picture, "--top-k", "2").fine()
    best, second = expected(small, picture.read_bytes(), top_k=2)
    assert str(picture) in said
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in said.splitlines() if line.startswith("│")]
    assert rows == [[p["label"], f"{p['probability']:.4f}", str(p["index"])] for p in (best, second)]


def test_a_name_in_the_store(hubserve, small, picture):
    tag = store.publish(small, name="flowers").tag
    by_name, by_tag = (hubserve("predict", name, picture, "--json").json() for name in ("flowers", tag))
    assert by_name == by_tag == hubserve("predict", small, picture, "--json").json()


def test_an_alias(hubserve, small, picture):
    older, newer = store.publish(small, name="older"), store.publish(tiny_package().path, name="newer")
    aliases.set_alias("production", older.tag, canary=newer.tag)
    assert hubserve("predict", "production", picture, "--json").json() == hubserve("predict", small, picture, "--json").json()
    store.delete(older.tag)
    message = hubserve("predict", "production", picture).refused("ModelNotFoundError")
    assert message.startswith(f"the alias production means {older.tag}, and the store has no")


class TestRefused:
    def test_no_picture(self, hubserve, small, tmp_path):
        (tmp_path / "text.jpg").write_text("hello")
        said = hubserve("predict", small, tmp_path / "text.jpg")
        wanted = f"{tmp_path / 'text.jpg'}: 5 bytes that are not a readable image (of no known kind); send a JPEG"
        assert said.refused("ImageError").startswith(wanted)

    def test_one_of_several(self, hubserve, small, picture, tmp_path):
        bad = tmp_path / "text.jpg"
        bad.write_text("hello")
        said = hubserve("predict", small, bad, picture, "--json")
        assert (said.code, f"ImageError: {bad}: 5 bytes" in said.err) == (2, True)
        document = json.loads(said.out)
        assert document[str(bad)]["error"]["type"] == "ImageError"
        wanted = [entry["label"] for entry in expected(small, picture.read_bytes())]
        assert [entry["label"] for entry in document[str(picture)]] == wanted
        said = hubserve("predict", small, bad, picture)
        assert (said.code, str(picture) in said.out, str(bad) in said.err) == (2, True, True)

    def test_no_file(self, hubserve, small):
        assert (
            hubserve("predict", small, "nosuch.jpg").refused("ImageError")
            == f"nosuch.jpg: there is no such file; looked in {Path.cwd()}"
        )

    def test_a_pattern_without_a_file(self, hubserve, small):
        message = hubserve("predict", small, "photos/*.jpg").refused("ImageError")
        assert message.startswith("photos/*.jpg: no file matches the pattern")

    def test_an_address(self, hubserve, small):
        message = hubserve("predict", small, "https://example.org/cat.jpg").refused("ImageError")
        assert message.startswith("https://example.org/cat.jpg is an address, and only files are read")

    def test_a_folder(self, hubserve, small, tmp_path):
        assert hubserve("predict", small, tmp_path).refused("ImageError").startswith(f"{tmp_path} is a folder: to classify")

    def test_more_classes_than_there_are(self, hubserve, small, picture):
        message = hubserve("predict", small, picture, "--top-k", "8").refused("TopKError")
        assert message == "top_k = 8 is not between 1 and 7, the number of classes of this model"

    def test_a_folder_that_is_no_package(self, hubserve, tmp_path, picture):
        message = hubserve("predict", tmp_path, picture).refused("PackageError")
        assert message == f"{tmp_path} is not a package: it has no readable manifest.json. `hubserve export` writes one"

    def test_a_package_without_onnx(self, hubserve, tiny, picture):
        assert "has no onnx; it has torchscript" in hubserve("predict", tiny, picture).refused("PackageError")

    def test_no_such_model(self, hubserve, picture):
        message = hubserve("predict", "efficientnet-lite", picture).refused("ModelNotFoundError")
        assert message == (
            "'efficientnet-lite' is no package folder, no alias, no model in the store, and no card. "
            "Did you mean efficientnet-lite0?"
        )
