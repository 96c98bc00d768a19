"""The store: versions appear whole or not at all, under the name that was asked for, whoever else is at work."""

from __future__ import annotations

import lzma
import multiprocessing
import shutil
import signal
import time
from pathlib import Path

import bentoml
import pytest

from hubserve import store
from hubserve.errors import AlreadyPublishedError, ModelNotFoundError, PackageError, StoreError
from hubserve.package.package import Package, read_package
from hubserve.store import publishing
from tests.stores import (
    bento_with,
    files_of,
    publish_forever,
    publish_in_step,
    publish_with_little_disk,
    store_at,
    tiny_package,
)

ROUNDS = 20


@pytest.fixture
def home(tmp_path):
    with store_at(tmp_path / "bentoml") as home:
        yield home


@pytest.fixture(scope="module")
def first() -> Package:
    return tiny_package(1)


@pytest.fixture(scope="module")
def second() -> Package:
    return tiny_package(2)


@pytest.fixture(scope="module")
def processes():
    """Processes that fork off one which has loaded what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.stores"])
    return context


@pytest.fixture(scope="module")
def race(processes, first, tmp_path_factory):
    """A store after two processes published the same versions at the same moments, and what each was told."""
    home, answers = tmp_path_factory.mktemp("race"), tmp_path_factory.mktemp("answers")
    barrier = processes.Barrier(2)
    both = [
        processes.Process(target=publish_in_step, args=(home, first.path, barrier, answers / str(i), ROUNDS)) for i in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    return home, [line for i in (0, 1) for line in (answers / str(i)).read_text().split("\n")]


class TestPublish:
    def test_what_is_stored_is_the_package(self, home, first):
        stored = store.publish(first.path)
        assert stored.tag.startswith("tiny:")
        assert stored.path.is_relative_to(home / "models")
        assert stored.package.manifest == first.manifest
        stored.package.verify()
        assert {p.name for p in stored.path.iterdir()} == {p.name for p in first.path.iterdir()} | {"model.yaml", ".number"}

    def test_the_same_content_is_the_same_version(self, home, first):
        tag = store.publish(first.path).tag
        before = files_of(home)
        assert store.publish(first.path).tag == tag
        assert files_of(home) == before

    def test_the_same_content_at_another_place_too(self, home, first, tmp_path):
        shutil.copytree(first.path, tmp_path / "moved")
        assert store.publish(first.path).tag == store.publish(tmp_path / "moved").tag

    def test_other_content_is_another_version(self, home, first, second):
        tags = {store.publish(first.path).tag, store.publish(second.path).tag}
        assert {model.tag for model in store.list_models()} == tags
        assert len(tags) == 2

    def test_name_and_version_of_ones_own(self, home, first):
        assert store.publish(first.path, name="mine", version="v1.0").tag == "mine:v1.0"
        assert store.resolve("mine").tag == "mine:v1.0"

    def test_a_version_is_never_replaced(self, home, first, second):
        store.publish(first.path, version="v1")
        before = files_of(home)
        with pytest.raises(AlreadyPublishedError, match=r"tiny:v1 exists and is another package; give another --version"):
            store.publish(second.path, version="v1")
        assert files_of(home) == before

    @pytest.mark.parametrize("name", ["../x", "a/b", "A", "a b", "-a", "a-", "latest", "x" * 64, "a:b", "ä", "a\n"])
    def test_names_that_are_no_names(self, home, first, name):
        before = files_of(home)
        with pytest.raises(StoreError, match="is not allowed: lower-case letters and digits"):
            store.publish(first.path, name=name)
        with pytest.raises(StoreError, match="is not allowed"):
            store.publish(first.path, version=name)
        assert files_of(home) == before

    def test_the_longest_name(self, home, first):
        assert store.publish(first.path, name="x" * 63).name == "x" * 63

    def test_what_bentoml_shows_of_it(self, home, first):
        info = bentoml.models.get(store.publish(first.path).tag).info
        assert info.module == "hubserve"
        assert info.labels["space"] == "ProxylessNAS"
        assert info.metadata["classes"] == 7
        assert info.metadata["formats"] == ["torchscript"]

    def test_a_version_that_another_program_has(self, home, first):
        with bentoml.models.create("foreign:1") as model:
            Path(model.path, "weights").write_text("not ours")
        with pytest.raises(AlreadyPublishedError, match="foreign:1"):
            store.publish(first.path, name="foreign", version="1")


class TestAFailedPublishLeavesNothing:
    def test_of_no_package(self, home, tmp_path):
        with pytest.raises(PackageError, match="is not a package"):
            store.publish(tmp_path)
        assert store.list_models() == []

    def test_of_a_changed_package(self, home, first, tmp_path):
        store.publish(first.path)
        before = files_of(home)
        shutil.copytree(first.path, tmp_path / "changed")
        with (tmp_path / "changed" / "weights.safetensors").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x7f")
        with pytest.raises(PackageError, match=r"weights\.safetensors was changed"):
            store.publish(tmp_path / "changed")
        assert files_of(home) == before

    @pytest.mark.slow
    def test_on_a_disk_that_fills_up_half_way(self, home, first, second, processes, tmp_path):
        """Some of the files fit; the largest do not."""
        store.publish(first.path)
        before = files_of(home)
        sizes = sorted(entry.bytes for entry in second.manifest.files.values())
        arguments = (home, second.path, tmp_path / "said", sizes[-1] - 1)
        process = processes.Process(target=publish_with_little_disk, args=arguments)
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert "File too large" in (tmp_path / "said").read_text()
        assert files_of(home) == before
        store.publish(second.path, version="v1").package.verify()


class TestResolve:
    def test_name_tag_and_latest(self, home, first, second):
        older, newer = store.publish(first.path), store.publish(second.path)
        assert store.resolve("tiny").tag == newer.tag
        assert store.resolve("tiny:latest").tag == newer.tag
        assert store.resolve(older.tag) == older
        assert [model.tag for model in store.list_models()] == [newer.tag, older.tag]
        assert newer.name == "tiny"

    def test_the_newest_of_each_name(self, home, first, second):
        store.publish(first.path, name="a")
        store.publish(second.path, name="b")
        assert store.resolve("a").package.manifest == first.manifest

    def test_a_version_by_its_first_letters_is_none(self, home, first):
        tag = store.publish(first.path).tag
        with pytest.raises(ModelNotFoundError, match=f"Did you mean {tag}"):
            store.resolve(tag[:-1])

    def test_near_names(self, home, first, second):
        store.publish(first.path, name="efficientnet", version="v1")
        with pytest.raises(ModelNotFoundError, match=r"no 'eficientnet'\. Did you mean efficientnet\?"):
            store.resolve("eficientnet")
        with pytest.raises(ModelNotFoundError, match=r"no 'efficientnet:v2'\. Did you mean efficientnet:v1\?"):
            store.resolve("efficientnet:v2")

    def test_names_that_are_far(self, home, first):
        store.publish(first.path, name="one")
        store.publish(first.path, name="two")
        with pytest.raises(ModelNotFoundError, match=r"no 'zzzzzzzz'\. Known: one, two\."):
            store.resolve("zzzzzzzz")

    def test_an_empty_store_says_how_to_fill_it(self, home):
        with pytest.raises(ModelNotFoundError, match=r"it is empty\. `hubserve publish efficientnet-lite0` fills it"):
            store.resolve("tiny")

    @pytest.mark.parametrize("tag", ["", ":", "tiny:", ":v1", "tiny:v1:v1", "../tiny", "tiny/v1", "Tiny", "tiny ", "*", "%00"])
    def test_strange_tags(self, home, first, tag):
        store.publish(first.path, version="v1")
        with pytest.raises(ModelNotFoundError):
            store.resolve(tag)

    def test_models_of_others_are_not_ours(self, home, first):
        with bentoml.models.create("foreign:1") as model:
            Path(model.path, "weights").write_text("not ours")
        assert store.list_models() == []
        with pytest.raises(ModelNotFoundError):
            store.resolve("foreign:1")
        with pytest.raises(ModelNotFoundError):
            store.delete("foreign:1")
        assert bentoml.models.get("foreign:1").tag.name == "foreign"

    def test_publishing_again_mends_a_publish_that_was_cut_off(self, home, first, second, monkeypatch):
        """Between the rename and the note of which is newest."""

        class CutOff(BaseException):
            pass

        def cut_off(there):
            raise CutOff

        store.publish(first.path)
        with monkeypatch.context() as patch:
            patch.setattr(publishing, "point_latest", cut_off)
            with pytest.raises(CutOff):
                store.publish(second.path)
        newest = store.list_models()[0]
        assert newest.package.manifest == second.manifest
        assert store.publish(second.path).tag == newest.tag
        assert store.resolve("tiny").tag == newest.tag

    @pytest.mark.parametrize("name", ["tiny", "other"])
    def test_half_a_model_hides_no_other(self, home, first, name):
        """A killed delete leaves such a folder, and BentoML's own save makes one while it copies."""
        tag = store.publish(first.path).tag
        (home / "models" / name / "half").mkdir(parents=True)
        assert [model.tag for model in store.list_models()] == [tag]
        with pytest.raises(ModelNotFoundError):
            store.resolve("nosuch")
        with pytest.raises(ModelNotFoundError):
            store.resolve(f"{name}:half")


class TestDelete:
    def test_is_gone(self, home, first):
        tag = store.publish(first.path).tag
        store.delete(tag)
        assert store.list_models() == []
        with pytest.raises(ModelNotFoundError):
            store.delete(tag)

    def test_the_version_before_is_newest_again(self, home, first, second):
        older, newer = store.publish(first.path), store.publish(second.path)
        store.delete(newer.tag)
        assert store.resolve("tiny").tag == older.tag

    def test_a_name_means_its_newest(self, home, first, second):
        older = store.publish(first.path)
        store.publish(second.path)
        store.delete("tiny")
        assert [model.tag for model in store.list_models()] == [older.tag]

    def test_may_come_back(self, home, first):
        tag = store.publish(first.path).tag
        store.delete(tag)
        assert store.publish(first.path).tag == tag
        store.resolve(tag).package.verify()


class TestToAnotherMachine:
    def test_there_and_back(self, home, first, tmp_path):
        tag = store.publish(first.path, name="mine", version="v1").tag
        file = store.export_model(tag, tmp_path)
        assert (file.parent, file.suffix) == (tmp_path, ".bentomodel")
        with store_at(tmp_path / "elsewhere") as elsewhere:
            stored = store.import_model(file)
            assert stored.tag == "mine:v1"
            assert stored.path.is_relative_to(elsewhere)
            stored.package.verify()
            assert stored.package.manifest == first.manifest
            assert store.resolve("mine").tag == "mine:v1"
            assert list((elsewhere / "tmp").iterdir()) == []

    def test_import_where_it_is_already(self, home, first, tmp_path):
        stored = store.publish(first.path)
        file = store.export_model(stored.tag, tmp_path)
        before = files_of(home)
        assert store.import_model(file) == stored
        assert files_of(home) == before

    def test_import_of_a_version_that_is_another_package(self, home, first, second, tmp_path):
        store.publish(first.path, version="v1")
        file = store.export_model("tiny:v1", tmp_path)
        store.delete("tiny:v1")
        store.publish(second.path, version="v1")
        before = files_of(home)
        with pytest.raises(AlreadyPublishedError, match="tiny:v1 exists and is another package"):
            store.import_model(file)
        assert files_of(home) == before

    def test_import_of_a_changed_one(self, home, first, tmp_path):
        stored = store.publish(first.path)
        with (stored.path / "labels.txt").open("a") as file:
            file.write("one more\n")
        exported = store.export_model(stored.tag, tmp_path)
        store.delete(stored.tag)
        with pytest.raises(PackageError, match=r"labels\.txt was changed"):
            store.import_model(exported)
        assert store.list_models() == []
        assert list((home / "tmp").iterdir()) == []

    def test_import_of_someone_else_s_model(self, home, tmp_path):
        with bentoml.models.create("foreign:1") as model:
            Path(model.path, "weights").write_text("not ours")
        file = bentoml.models.export_model("foreign:1", str(tmp_path))
        with pytest.raises(PackageError, match="is not a package"):
            store.import_model(Path(file))

    def test_import_of_nothing(self, home, tmp_path):
        with pytest.raises(StoreError, match="is not a model that was exported from a store"):
            store.import_model(tmp_path / "nosuch.bentomodel")
        assert list((home / "tmp").iterdir()) == []

    @pytest.mark.parametrize("damage", ["junk", "empty", "half", "zip", "tar"])
    def test_import_of_a_damaged_file(self, home, first, tmp_path, damage):
        whole = store.export_model(store.publish(first.path).tag, tmp_path).read_bytes()
        name, content = {
            "junk": ("x.bentomodel", b"hello"),
            "empty": ("x.bentomodel", b""),
            "half": ("x.bentomodel", whole[: len(whole) // 2]),
            "zip": ("x.zip", b"hello"),
            "tar": ("x.tar", b"hello"),
        }[damage]
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match="is not a model that was exported from a store"):
            store.import_model(tmp_path / name)

    def test_the_file_is_an_archive_that_others_read(self, home, first, tmp_path):
        file = store.export_model(store.publish(first.path).tag, tmp_path)
        assert b"model.yaml" in lzma.decompress(file.read_bytes())

    def test_export_of_nothing(self, home, tmp_path):
        with pytest.raises(ModelNotFoundError):
            store.export_model("tiny", tmp_path)
        assert list(tmp_path.glob("*.bentomodel")) == []

    def test_export_to_where_nothing_can_be(self, home, first, tmp_path):
        tag = store.publish(first.path).tag
        with pytest.raises(StoreError, match=f"cannot write {tag} to"):
            store.export_model(tag, tmp_path / "no" / "folder" / "x.bentomodel")


class TestModelsThatCameWithABento:
    @pytest.fixture
    def carried(self, first, tmp_path):
        """The models beside the code of a bento, as containerize lays them out: tiny:v1, and one that is none of ours."""
        with store_at(tmp_path / "builder") as builder:
            store.publish(first.path, version="v1")
            with bentoml.models.create("foreign:1") as model:
                Path(model.path, "weights").write_text("not ours")
        return builder / "models"

    def test_are_in_the_store(self, carried, home, first):
        with bento_with(carried):
            assert store.list_models() == []
            assert store.unpack_bento() == ["tiny:v1"]
            (stored,) = store.list_models()
            assert store.resolve("tiny") == stored
        assert stored.path.is_relative_to(home)
        stored.package.verify()
        assert stored.package.manifest == first.manifest
        assert not list((home / "tmp").iterdir())

    def test_another_start_changes_nothing(self, carried, home):
        with bento_with(carried):
            store.unpack_bento()
            before = files_of(home)
            assert store.unpack_bento() == []
        assert files_of(home) == before

    def test_what_was_published_later_stays_the_newest(self, carried, home, second):
        later = store.publish(second.path, version="v2")
        with bento_with(carried):
            assert store.unpack_bento() == ["tiny:v1"]
            assert store.resolve("tiny") == later
            assert [model.tag for model in store.list_models()] == ["tiny:v2", "tiny:v1"]

    def test_the_store_may_be_the_same(self, home, first):
        store.publish(first.path)
        before = files_of(home)
        assert store.unpack_bento() == []
        assert files_of(home) == before

    def test_another_worker_is_as_quick(self, carried, home, monkeypatch):
        def taken(source, target):
            shutil.copytree(source, target)
            raise OSError("directory not empty")

        monkeypatch.setattr("os.rename", taken)
        with bento_with(carried):
            assert store.unpack_bento() == []
        assert store.resolve("tiny:v1")

    def test_a_store_that_cannot_be_written(self, carried, home):
        shutil.rmtree(home / "models")
        (home / "models").write_text("no folder")
        with (
            bento_with(carried),
            pytest.raises(StoreError, match=r"tiny:v1 of the bento cannot be copied to .*BENTOML_HOME must"),
        ):
            store.unpack_bento()


class TestSeveralProcesses:
    @pytest.mark.slow
    def test_killed_at_any_moment(self, home, first, second, processes):
        """Every version that is listed is whole, and the store goes on working."""
        store.publish(first.path)
        start = time.perf_counter()
        store.publish(first.path, name="timed")
        once = time.perf_counter() - start
        killed = 0
        for i in range(24):
            process = processes.Process(target=publish_forever, args=(home, second.path, f"p{i}-"))
            process.start()
            # Every second one while it works on its first version, which takes longer.
            begun = home / "models" / "endless" / f"p{i}-0" if i % 2 else home / "tmp"
            while not (begun.exists() and any(begun.iterdir())) and process.is_alive():
                time.sleep(0.001)
            time.sleep(once * 1.5 * i / 24)
            process.kill()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
            for model in store.list_models():
                read_package(model.path).verify()
            shutil.rmtree(home / "tmp")
            (home / "tmp").mkdir()
        assert killed == 24
        assert len(store.list_models()) >= 2 + killed // 2
        assert store.resolve("endless").package.manifest == second.manifest
        assert store.publish(second.path, name="endless", version="afterwards") == store.resolve("endless")

    @pytest.mark.slow
    def test_the_same_version_at_once_is_stored_once(self, race):
        with store_at(race[0]):
            models = store.list_models()
            assert {model.tag for model in models} == {f"tiny:r{i}" for i in range(ROUNDS)}
            for model in models:
                model.package.verify()
            assert list((race[0] / "tmp").iterdir()) == []
            assert store.resolve("tiny") == models[0]

    def test_publishing_what_someone_else_publishes_just_now_is_no_error(self, race):
        assert sorted(race[1]) == sorted(2 * [f"tiny:r{i}" for i in range(ROUNDS)])
