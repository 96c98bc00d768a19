"""Pulling packages whose writer is not trusted: held to hashes, bounded, and in their place by one rename or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pytest

from hubserve import store
from hubserve.errors import HubserveError, PackageError, RemoteError, RemoteMissingError, StorageError
from hubserve.package.package import read_package
from tests.loopback_hub import LoopbackHub, cut_after, stuck_after
from tests.remote_places import BUCKET, hub, s3, s3_client, s3_server  # noqa: F401 - fixtures
from tests.stores import store_at, tiny_package


@pytest.fixture(autouse=True)
def home(tmp_path):
    with store_at(tmp_path / "bentoml") as folder:
        yield folder


@pytest.fixture
def pushed(tmp_path) -> Path:
    """A folder with a pushed package, which tests change."""
    store.push(tiny_package().path, (tmp_path / "pushed").as_uri())
    return tmp_path / "pushed"


def change(pushed: Path, edit) -> None:
    manifest = json.loads((pushed / "manifest.json").read_text())
    edit(manifest)
    (pushed / "manifest.json").write_text(json.dumps(manifest))


def refused(pushed: Path, home: Path, kind: type[HubserveError], match: str, **options) -> None:
    with pytest.raises(kind, match=match):
        store.pull(pushed.as_uri(), **options)
    assert store.list_models() == []
    assert list((home / "tmp").iterdir()) == []
    with pytest.raises(kind, match=match):
        store.pull_package(pushed.as_uri(), home.parent / "out", **options)
    assert not [path for path in home.parent.iterdir() if "out" in path.name]


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", ["weights.safetensors", "model.torchscript.pt", "labels.txt", "parity.json"])
    def test_a_corrupt_byte(self, pushed, home, name):
        content = bytearray((pushed / name).read_bytes())
        content[len(content) // 2] ^= 1
        (pushed / name).write_bytes(content)
        refused(pushed, home, PackageError, rf"{name} is not the file that its manifest.json lists .*nothing was pulled")

    def test_a_missing_file(self, pushed, home):
        (pushed / "labels.txt").unlink()
        refused(pushed, home, PackageError, r"is incomplete: labels.txt is missing; push the model again")

    def test_another_length(self, pushed, home):
        with (pushed / "weights.safetensors").open("ab") as file:
            file.write(b"x")
        refused(
            pushed, home, PackageError, r"weights.safetensors has \d+ bytes, and its manifest.json says \d+: it was changed"
        )

    @pytest.mark.parametrize(
        "name", ["../labels.txt", "/etc/passwd", "a/b", "..", ".", "", "manifest.json", "a\0b", "x" * 256, "folder/"]
    )
    def test_names_that_lead_elsewhere(self, pushed, home, name):
        change(pushed, lambda m: m["files"].update({name: {"bytes": 3, "sha256": "0" * 64}}))
        refused(pushed, home, PackageError, r"lists .*: files lie in the package's own folder, by plain names")

    def test_a_link(self, pushed, home, tmp_path):
        (pushed / "labels.txt").rename(tmp_path / "elsewhere.txt")
        (pushed / "labels.txt").symlink_to(tmp_path / "elsewhere.txt")
        refused(pushed, home, RemoteError, r"'labels.txt' is a link, a folder or a device")

    def test_a_pipe_is_not_waited_for(self, pushed, home):
        (pushed / "labels.txt").unlink()
        os.mkfifo(pushed / "labels.txt")
        refused(pushed, home, RemoteError, r"'labels.txt' is a link, a folder or a device")

    def test_a_manifest_that_was_changed(self, pushed, home):
        change(pushed, lambda m: m["files"]["labels.txt"].update(sha256="0" * 64))
        refused(pushed, home, PackageError, r"labels.txt is not the file that its manifest.json lists")

    def test_a_manifest_of_other_classes(self, pushed, home):
        change(pushed, lambda m: m["outputs"][0].update(shape=["batch", 8]))
        refused(pushed, home, PackageError, r"has 7 labels for 8 classes")

    def test_a_manifest_that_was_changed_is_another_package(self, pushed, home):
        sha256 = store.push(tiny_package().path, pushed.as_uri()).sha256
        change(pushed, lambda m: m.update(temperature=3.0))
        refused(pushed, home, PackageError, rf"expected {sha256}: another package", sha256=sha256)
        assert store.pull(pushed.as_uri()).package.manifest.temperature == 3.0  # Without it, whoever wrote the place decides.

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"files": {}}', b"[" * 100_000])
    def test_a_corrupt_manifest(self, pushed, home, content):
        (pushed / "manifest.json").write_bytes(content)
        refused(pushed, home, PackageError, r"its manifest.json is not one that this version reads")

    def test_a_newer_manifest(self, pushed, home):
        change(pushed, lambda m: m.update(format_version=3))
        refused(pushed, home, PackageError, r"a newer hubserve wrote it")

    def test_no_manifest(self, pushed, home):
        (pushed / "manifest.json").unlink()
        refused(pushed, home, RemoteMissingError, r"is no package, or an incomplete one: it has files, but no manifest.json")

    def test_nothing(self, home, tmp_path):
        refused(tmp_path / "nosuch", home, RemoteMissingError, r"is empty, or there is no such folder")

    def test_too_large(self, pushed, home):
        refused(pushed, home, PackageError, r"its files have .* GB, and 1e-05 GB are allowed \(--most-gb\)", most_bytes=10_000)

    def test_announced_as_huge(self, pushed, home):
        """Nothing of it is asked for."""
        change(pushed, lambda m: m["files"]["labels.txt"].update(bytes=10**18))
        refused(pushed, home, PackageError, r"GB are allowed")
        refused(pushed, home, StorageError, r"no space is left on its disk", most_bytes=10**19)

    def test_a_negative_length(self, pushed, home):
        change(pushed, lambda m: m["files"]["labels.txt"].update(bytes=-1))
        refused(pushed, home, PackageError, r"lists labels.txt with -1 bytes")

    def test_too_many_files(self, pushed, home):
        change(pushed, lambda m: m["files"].update({f"f{i}": {"bytes": 0, "sha256": ""} for i in range(200)}))
        refused(pushed, home, PackageError, r"lists 20\d files, and 100 are allowed")

    def test_a_manifest_that_is_too_long(self, pushed, home):
        (pushed / "manifest.json").write_bytes(b" " * (16 * 2**20 + 1))
        refused(pushed, home, RemoteError, r"manifest.json is longer than the 16.8 MB that are read")


def test_files_that_the_manifest_does_not_list_are_left_out(pushed):
    (pushed / "extra.py").write_text("import os")
    (pushed / "model.onnx").write_bytes(b"junk")
    found = store.pull(pushed.as_uri()).path
    assert {path.name for path in found.iterdir()} >= set(tiny_package().manifest.files)
    assert not {"extra.py", "model.onnx", "README.md"} & {path.name for path in found.iterdir()}


def test_programs_stay_untrusted(pushed, tmp_path, monkeypatch):
    """Their hashes match, which proves that they are what was pushed, and not that they are harmless."""
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "another-machine"))
    stored = store.pull(pushed.as_uri())
    with pytest.raises(PackageError, match="was not written here by this user, and a TorchScript file holds functions"):
        stored.package.runner("torchscript")
    assert read_package(stored.path, trusted=True).runner("torchscript")
    assert not (tmp_path / "another-machine" / "written").exists()


class TestFolders:
    def test_a_new_one(self, pushed, tmp_path):
        package = store.pull_package(pushed.as_uri(), tmp_path / "new" / "out")
        assert package.manifest == tiny_package().manifest
        package.verify()
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]

    def test_an_old_one_is_replaced_where_asked_for(self, pushed, tmp_path):
        shutil.copytree(tiny_package(1).path, tmp_path / "out")
        with pytest.raises(PackageError, match="out exists; choose another folder"):
            store.pull_package(pushed.as_uri(), tmp_path / "out")
        assert store.pull_package(pushed.as_uri(), tmp_path / "out", overwrite=True).manifest == tiny_package().manifest

    def test_no_folder_of_another_kind_is_replaced(self, pushed, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("mine")
        with pytest.raises(PackageError, match="is not a package, so it is not replaced"):
            store.pull_package(pushed.as_uri(), tmp_path / "out", overwrite=True)


class TestHub:
    @pytest.fixture
    def flowers(self, hub: LoopbackHub) -> LoopbackHub:  # noqa: F811
        store.push(tiny_package().path, "hf://me/flowers")
        return hub

    def test_a_connection_that_is_cut(self, flowers, home):
        flowers.answers["weights.safetensors"] = cut_after(5000)
        with pytest.raises(HubserveError, match="hf://me/flowers"):
            store.pull("hf://me/flowers")
        assert store.list_models() == []
        assert list((home / "tmp").iterdir()) == []

    def test_a_server_that_sends_more(self, flowers, home):
        flowers.answers["labels.txt"] = lambda handler, content: handler.reply(200, content + b"x" * 10_000_000)
        with pytest.raises(PackageError, match=r"labels.txt is not the file"):
            store.pull("hf://me/flowers")

    def test_a_push_in_between_gives_no_mixture(self, flowers):
        """All files come from the commit that was the newest at the begin."""

        def pushed_meanwhile(handler, content):
            del flowers.answers["labels.txt"]
            flowers.repositories["me/flowers"].commit({"manifest.json": b"{}"})
            handler.reply(200, content)

        flowers.answers["labels.txt"] = pushed_meanwhile
        store.pull("hf://me/flowers").package.verify()

    def test_no_such_revision(self, flowers):
        with pytest.raises(RemoteMissingError, match="the repository has no such revision"):
            store.pull("hf://me/flowers", revision="v9")

    @pytest.mark.parametrize("token", ["", "hf_loopback"])
    def test_no_such_repository(self, flowers, monkeypatch, token):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(RemoteMissingError, match="hf://me/nosuch: there is no such repository, or it is not open"):
            store.pull("hf://me/nosuch")

    @pytest.mark.slow
    def test_killed_in_the_middle(self, flowers, home, tmp_path):
        reached, release = threading.Event(), threading.Event()
        flowers.answers["weights.safetensors"] = stuck_after(5000, reached, release)
        program = (
            "import sys; from pathlib import Path; from tests.stores import store_at; from hubserve import store\n"
            "with store_at(Path(sys.argv[1])): print(store.pull('hf://me/flowers').tag)"
        )
        command = [sys.executable, "-c", program, str(home)]
        environment = {**os.environ, "HF_HUB_DISABLE_XET": "1"}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert reached.wait(120)
        process.send_signal(signal.SIGKILL)
        process.wait()
        release.set()
        assert len(list((home / "tmp").iterdir())) == 1
        assert store.list_models() == []
        del flowers.answers["weights.safetensors"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.stdout.startswith("tiny:"), done.stderr
        assert list((home / "tmp").iterdir()) == []
        store.resolve("tiny").package.verify()


class TestS3:
    def test_a_corrupt_byte(self, s3, home):  # noqa: F811
        store.push(tiny_package().path, f"s3://{BUCKET}/corrupt")
        client = s3_client(s3)
        content = client.get_object(Bucket=BUCKET, Key="corrupt/weights.safetensors")["Body"].read()
        client.put_object(Bucket=BUCKET, Key="corrupt/weights.safetensors", Body=content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(PackageError, match=r"weights.safetensors is not the file"):
            store.pull(f"s3://{BUCKET}/corrupt")
        assert store.list_models() == []

    def test_no_such_bucket_or_folder(self, s3):  # noqa: F811
        with pytest.raises(RemoteMissingError, match="s3://nosuch/x: there is no such bucket"):
            store.pull("s3://nosuch/x")
        with pytest.raises(RemoteMissingError, match=f"s3://{BUCKET}/nosuch is empty, or there is no such folder"):
            store.pull(f"s3://{BUCKET}/nosuch")


def test_progress(pushed):
    from contextlib import contextmanager

    seen: list[int] = []

    @contextmanager
    def bar(what, total):
        yield seen.append
        assert sum(seen) == total > 0
        assert what.startswith("pull file://")

    store.pull(pushed.as_uri(), progress=bar)
    assert seen


def test_memory_is_shared_in_this_process_only():
    store.push(tiny_package().path, "memory://shared/x")
    assert fsspec.filesystem("memory").exists("/shared/x/manifest.json")
