"""`hubserve export`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from hubserve.cli.export import accuracy_note
from hubserve.package.package import read_package
from hubserve.package.parity import LabelledAccuracy
from tests.export.nets import ARCH, SETTINGS
from tests.stores import small_package


@pytest.fixture
def quick(own_arch):
    """Options that write the small network in the form that is written fastest."""
    return (*own_arch, "--format", "torchscript")


def test_an_arch_of_ones_own(hubserve, quick):
    """Named, and put, as its file is called, in small letters."""
    document = hubserve("export", *quick, "--json").json()
    assert document["path"] == "mine"
    package = read_package(Path("mine"))
    package.verify()
    assert document["manifest"] == package.manifest.model_dump(mode="json")
    assert package.manifest.name == "mine"
    assert package.manifest.arch == ARCH
    assert package.manifest.provenance.weights == "random"
    assert package.labels == tuple(f"class {i}" for i in range(SETTINGS["num_labels"]))


def test_the_table_is_the_parity_report(hubserve, quick):
    said = hubserve("export", *quick, "--out", "package").fine()
    (report,) = read_package(Path("package")).parity
    assert "package: compared with eager PyTorch" in said
    cells = [cell.strip() for cell in next(line for line in said.splitlines() if "torchscript" in line).strip("│").split("│")]
    assert cells == ["torchscript", f"{report.max_abs_error:.2g}", f"{report.scale:.3g}", "100%"]


def test_a_card_with_fresh_weights(hubserve):
    arguments = ("export", "mobilenetv3-small-050", "--random-weights", "--format", "torchscript", "--json")
    document = hubserve(*arguments).json()
    assert document["path"] == "mobilenetv3-small-050"
    assert document["manifest"]["provenance"]["weights"] == "random"
    assert document["manifest"]["provenance"]["metric"] is None
    assert len(read_package(Path(document["path"])).labels) == 1000


def test_weights_of_a_file(hubserve, quick, small):
    arguments = ("export", *quick, "--weights", small / "weights.safetensors", "--out", "package", "--json")
    said = hubserve(*arguments)
    assert (said.code, said.fault) == (0, "")
    assert said.err.startswith("WARNING: mine has no labels: its 7 classes are called 'class 0' to 'class 6'")
    assert json.loads(said.out)["manifest"]["provenance"]["weights"] == "local"
    assert Path("package/weights.safetensors").read_bytes() == (small / "weights.safetensors").read_bytes()


def test_forms_in_the_order_of_the_manifest(hubserve, own_arch):
    arguments = ("export", *own_arch, "--format", "torchscript", "--format", "onnx", "--json")
    assert list(hubserve(*arguments).json()["manifest"]["exports"]) == ["onnx", "torchscript"]


def test_overwrite(hubserve, quick):
    hubserve("export", *quick, "--out", "package").fine()
    before = Path("package/weights.safetensors").read_bytes()
    message = hubserve("export", *quick, "--out", "package").refused("PackageError")
    assert message == "package exists; choose another folder or replace it with overwrite=True / --overwrite"
    assert Path("package/weights.safetensors").read_bytes() == before
    hubserve("export", *quick, "--out", "package", "--overwrite").fine()
    assert Path("package/weights.safetensors").read_bytes() != before


class TestRefused:
    def test_options_that_do_not_go_together(self, hubserve, own_arch, small):
        way_out = "name a pre-searched model, or give --space together with --arch"
        for arguments in ((), ("spos", *own_arch), ("--space", "ENAS"), own_arch[2:], ("spos", *own_arch[2:])):
            assert hubserve("export", *arguments).refused("ExportError") == way_out
        both = ("--weights", small / "weights.safetensors", "--random-weights")
        assert "exclude each other" in hubserve("export", *own_arch, *both).refused("ExportError")
        assert list(Path.cwd().iterdir()) == []

    @pytest.mark.parametrize(
        "options", ["settings of a card", "key format of random weights of a space", "key format of no weights"]
    )
    def test_an_option_that_would_do_nothing(self, hubserve, quick, options):
        """Whoever gives it believes that it does something."""
        card = ("mobilenetv3-small-050", "--random-weights", "--format", "torchscript")
        arguments = {
            "settings of a card": (*card, "--settings", quick[5]),
            "key format of random weights of a space": (*quick, "--key-format", "timm"),
            "key format of no weights": (*card, "--key-format", "nosuch"),
        }[options]
        assert hubserve("export", *arguments).code == 2

    def test_no_such_model(self, hubserve, tiny):
        message = hubserve("export", "efficientnet-lite1").refused("ModelNotFoundError")
        assert message == (
            "'efficientnet-lite1' is no package folder, no alias, no model in the store, and no card. "
            "Did you mean efficientnet-lite0?"
        )
        tag = hubserve("publish", tiny, "--name", "flowers").fine().strip()
        near = tag.replace("flowers", "flower")
        assert f"Did you mean {tag}?" in hubserve("export", near).refused("ModelNotFoundError")

    def test_no_such_space(self, hubserve, own_arch):
        assert "Did you mean ENAS" in hubserve("export", "--space", "ENASS", *own_arch[2:4]).refused("SpaceError")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "Expecting property name"),
            ("[1]", "holds a list; expected an object: name -> value"),
            ("\x80", "cannot read"),
        ],
    )
    @pytest.mark.parametrize("option", ["--arch", "--settings"])
    def test_a_file_that_is_not_json(self, hubserve, own_arch, tmp_path, option, text, words):
        (tmp_path / "bad.json").write_bytes(text.encode("latin-1"))
        message = hubserve("export", *own_arch, option, tmp_path / "bad.json").refused("ArchError")
        assert words in message
        assert "bad.json" in message

    def test_a_file_that_is_not_there(self, hubserve, own_arch):
        assert "nosuch.json" in hubserve("export", *own_arch, "--arch", "nosuch.json").refused("ArchError")
        assert "nosuch.pth" in hubserve("export", *own_arch, "--weights", "nosuch.pth").refused("WeightsError")

    def test_an_arch_of_another_space(self, hubserve, own_arch, tmp_path):
        (tmp_path / "other.json").write_text(json.dumps({**ARCH, "s2_i0": "k9e9"}))
        message = hubserve("export", *own_arch, "--arch", tmp_path / "other.json").refused("ArchError")
        assert "s2_i0" in message
        assert "k9e9" in message

    def test_a_setting_that_the_space_does_not_have(self, hubserve, own_arch, tmp_path):
        (tmp_path / "settings.json").write_text('{"num_label": 7}')
        assert "Did you mean num_labels" in hubserve("export", *own_arch).refused("SpaceError")

    def test_weights_of_another_model(self, hubserve, small):
        arguments = ("export", "mobilenetv3-small-050", "--weights", small / "weights.safetensors")
        message = hubserve(*arguments).refused("KeyFormatError")
        assert "do not fit the model" in message
        assert list(Path.cwd().iterdir()) == []
        message = hubserve(*arguments, "--key-format", "x").refused("KeyFormatError")
        assert "no key format is called 'x'" in message
        assert "Known: acenas" in message


def test_an_entry_of_triton_that_is_there_is_told_before_the_export(hubserve, own_arch, monkeypatch):
    (Path("models") / "mine").mkdir(parents=True)
    monkeypatch.setattr("hubserve.cli.export.write_package", lambda *_, **__: pytest.fail("it exports"))
    arguments = ("export", *own_arch, "--format", "onnx", "--triton", "models")
    assert "models/mine exists; choose another folder" in hubserve(*arguments).refused("ExportError")


class TestFromPackages:
    def test_forms_are_added(self, hubserve, tiny):
        hubserve("publish", tiny).fine()
        for source, folder in (("tiny", "a"), (tiny, "b")):
            arguments = ("export", source, "--format", "torchscript", "--out", folder, "--triton", "models")
            if folder == "a":
                assert "has no format 'onnx'" in hubserve(*arguments).refused("ExportError")
                continue
            document = hubserve(*arguments[:-2], "--json").json()
            assert document["manifest"]["name"] == "tiny"
            assert (Path(folder) / "weights.safetensors").read_bytes() == (tiny / "weights.safetensors").read_bytes()

    def test_an_alias(self, hubserve, tiny):
        tag = hubserve("publish", tiny).fine().strip()
        hubserve("alias", "set", "production", tag).fine()
        document = hubserve("export", "production", "--format", "torchscript", "--out", "a", "--json").json()
        assert document["manifest"]["name"] == "tiny"

    def test_the_store_comes_before_the_cards(self, hubserve, tiny):
        hubserve("publish", tiny, "--name", "mobilenetv3-small-050").fine()
        arguments = ("export", "mobilenetv3-small-050", "--format", "torchscript", "--json")
        assert hubserve(*arguments, "--out", "a").json()["manifest"]["name"] == "tiny"
        # Weights can be given to a card alone.
        assert hubserve(*arguments, "--out", "b", "--random-weights").json()["manifest"]["name"] == "mobilenetv3-small-050"

    def test_a_package_has_weights(self, hubserve, tiny):
        assert "is a package, which has its own weights" in hubserve("export", tiny, "--random-weights").refused("ExportError")


class TestPictures:
    def test_forms_are_compared_on_them_too(self, hubserve, quick, picture):
        (Path("photos") / "kind").mkdir(parents=True)
        for i in range(3):
            (Path("photos") / "kind" / f"{i}.png").write_bytes(picture.read_bytes())
        (Path("photos") / "notes.txt").write_text("no picture")
        (Path("photos") / "broken.png").write_bytes(b"no picture either")
        hubserve("export", *quick, "--images", "photos", "--out", "package").fine()
        (report,) = read_package(Path("package")).parity
        assert sum(report.batches) == 1 + 2 + 5 + 3 + 8 + 3
        assert report.truth is None

    def test_eight_bits_tell_what_they_cost_where_the_classes_are_known(self):
        package = small_package()
        report = package.parity[0].model_copy(update={"format": "onnx-int8", "tolerance": None})
        known = report.model_copy(update={"truth": LabelledAccuracy(images=9, reference_top1=80.0, top1=70.0)})
        said = {name: accuracy_note(SimpleNamespace(parity=(r,))) for name, r in (("unknown", report), ("known", known))}
        assert "onnx-int8: how much accuracy was lost is not known" in said["unknown"]
        assert "a sub-folder for each class" in said["unknown"]
        assert said["known"] is None
        assert accuracy_note(package) is None

    def test_none_there(self, hubserve, quick):
        Path("empty").mkdir()
        assert "has no readable image" in hubserve("export", *quick, "--images", "empty").refused("DatasetError")
        assert "is not a folder of images" in hubserve("export", *quick, "--images", "nosuch").refused("DatasetError")

    def test_eight_bits_need_some(self, hubserve, own_arch):
        assert "--images FOLDER" in hubserve("export", *own_arch, "--format", "onnx-int8").refused("ExportError")
        assert list(Path.cwd().iterdir()) == []
