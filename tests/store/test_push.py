"""Pushing packages to memory, folders, S3 and a Hugging Face hub: complete or not pullable, and never over something else."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest

from hubserve import store
from hubserve.errors import MissingExtraError, PackageError, RemoteError, RemoteMissingError, StorageError
from hubserve.package.add_files import add_files
from hubserve.package.package import Package, read_package
from hubserve.store.push import INCOMPLETE
from tests.loopback_hub import COMMIT, TOKEN, LoopbackHub
from tests.remote_places import BUCKET, hub, s3, s3_client, s3_server  # noqa: F401 - fixtures
from tests.stores import store_at, tiny_package

PLACES = ["memory", "file", "s3", "hf"]


def other_package() -> Package:
    """One with other weights."""
    return tiny_package(1)


@pytest.fixture(autouse=True)
def home(tmp_path):
    with store_at(tmp_path / "bentoml") as folder:
        yield folder


@pytest.fixture
def place(request, tmp_path) -> str:
    """An address that has nothing yet."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    if request.param == "hf":
        request.getfixturevalue("hub")
    name = tmp_path.name.lower()
    return {
        "memory": f"memory://{name}/x",
        "file": (tmp_path / "a b").as_uri(),
        "s3": f"s3://{BUCKET}/{name}",
        "hf": "hf://me/x",
    }[request.param]


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_there_and_back(place):
    package = tiny_package()
    pushed = store.push(package.path, place)
    assert pushed.changed
    assert pushed.files == ("README.md", *sorted([*package.manifest.files, "manifest.json"]))
    stored = store.pull(place, name="back", sha256=pushed.sha256)
    assert stored.package.manifest == package.manifest
    assert not (stored.path / "README.md").exists()
    stored.package.verify()


@pytest.mark.parametrize("name", ["labels.txt", "README.md", "manifest.json", INCOMPLETE])
@pytest.mark.parametrize("target", ["present", "absent"])
def test_nothing_is_written_through_a_link(tmp_path, name, target):
    """Who can write into the folder, perhaps one that is shared, does not choose which files of this user are overwritten."""
    shared, present, absent = tmp_path / "shared", tmp_path / "present", tmp_path / "absent"
    shared.mkdir()
    present.write_text("precious")
    if name != INCOMPLETE:
        (shared / INCOMPLETE).touch()  # As if a push had begun, so that no --force is needed.
    (shared / name).symlink_to(tmp_path / target)
    with pytest.raises(RemoteError):
        store.push(tiny_package().path, shared.as_uri())
    assert (present.read_text(), absent.exists()) == ("precious", False)


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_second_push_changes_nothing(place):
    first = store.push(tiny_package().path, place)
    again = store.push(tiny_package().path, place)
    assert (again.changed, again.revision, again.sha256) == (False, first.revision, first.sha256)


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_another_package_is_replaced_by_force_only(place):
    store.push(other_package().path, place)
    with pytest.raises(RemoteError, match=r"has another package; choose another folder, or replace it with --force"):
        store.push(tiny_package().path, place)
    assert store.pull(place).package.manifest == other_package().manifest
    assert store.push(tiny_package().path, place, force=True).changed
    assert store.pull(place).package.manifest == tiny_package().manifest


class TestFolder:
    def test_files_of_the_old_package_are_removed_and_others_stay(self, tmp_path):
        url = (tmp_path / "x").as_uri()
        shutil.copytree(other_package().path, tmp_path / "old")
        add_files(read_package(tmp_path / "old"), {"extra.txt": b"of the old one"})
        store.push(tmp_path / "old", url)
        assert (tmp_path / "x" / "extra.txt").exists()
        (tmp_path / "x" / "notes.txt").write_text("mine")
        store.push(tiny_package().path, url, force=True)
        found = {path.name for path in (tmp_path / "x").iterdir()}
        assert found == {"README.md", "notes.txt", "manifest.json", *tiny_package().manifest.files}

    def test_other_files_are_not_written_among(self, tmp_path):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "labels.txt").write_text("mine")
        with pytest.raises(RemoteError, match=r"has other files \(labels.txt\) and no package"):
            store.push(tiny_package().path, (tmp_path / "x").as_uri())
        assert (tmp_path / "x" / "labels.txt").read_text() == "mine"

    def test_a_read_only_place(self, tmp_path):
        (tmp_path / "x").write_text("a file")
        with pytest.raises((StorageError, RemoteError)):
            store.push(tiny_package().path, f"file://{tmp_path}/x/y")

    def test_a_changed_package_is_not_pushed(self, tmp_path):
        shutil.copytree(tiny_package().path, tmp_path / "changed")
        (tmp_path / "changed" / "labels.txt").write_text("one\n")
        with pytest.raises(PackageError, match="was changed since"):
            store.push(tmp_path / "changed", (tmp_path / "x").as_uri())
        assert not (tmp_path / "x").exists()

    def test_into_itself(self, tmp_path):
        shutil.copytree(tiny_package().path, tmp_path / "own")
        (tmp_path / "link").symlink_to(tmp_path / "own")
        for url in ((tmp_path / "own").as_uri(), f"file://{tmp_path}/link"):
            with pytest.raises(RemoteError, match="is the folder of the package itself"):
                store.push(tmp_path / "own", url, force=True)
        read_package(tmp_path / "own").verify()

    def test_a_file_that_was_removed_is_pushed_again(self, tmp_path):
        store.push(tiny_package().path, (tmp_path / "x").as_uri())
        (tmp_path / "x" / "labels.txt").unlink()
        assert store.push(tiny_package().path, (tmp_path / "x").as_uri()).changed
        store.pull((tmp_path / "x").as_uri()).package.verify()

    def test_files_beside_it(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        url = (tmp_path / "x").as_uri()
        store.push(tiny_package().path, url, beside={"config.json": tmp_path / "config.json"})
        assert (tmp_path / "x" / "config.json").read_text() == "{}"
        assert not (store.pull(url).path / "config.json").exists()


class TestInterrupted:
    """An upload that fails in the middle: not pullable, and the same push completes it."""

    @pytest.fixture
    def url(self, monkeypatch) -> str:
        real, left = fsspec.get_filesystem_class("memory").put_file, [2]

        def failing(self, *arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise ConnectionResetError("the connection was cut")
            return real(self, *arguments, **options)

        monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "put_file", failing)
        yield "memory://interrupted/x"
        fsspec.filesystem("memory").rm("/interrupted", recursive=True)

    def test_is_incomplete_until_it_is_pushed_again(self, url, monkeypatch):
        with pytest.raises(RemoteError, match="cannot be reached: ConnectionResetError"):
            store.push(tiny_package().path, url)
        with pytest.raises(RemoteError, match="is incomplete: a push into it has begun and not ended"):
            store.pull(url)
        assert store.list_models() == []
        monkeypatch.undo()
        assert store.push(tiny_package().path, url).changed
        store.pull(url).package.verify()
        assert INCOMPLETE not in str(fsspec.filesystem("memory").ls("/interrupted/x"))

    def test_over_another_package_neither_can_be_pulled(self, url, monkeypatch):
        with monkeypatch.context() as undone:
            undone.undo()
            undone.setattr(fsspec.get_filesystem_class("memory"), "put_file", fsspec.AbstractFileSystem.put_file)
            store.push(other_package().path, url)
        with pytest.raises(RemoteError, match="cannot be reached"):
            store.push(tiny_package().path, url, force=True)
        with pytest.raises(RemoteError, match="is incomplete"):
            store.pull(url)


class TestS3:
    def test_a_bucket_must_exist(self, s3):  # noqa: F811
        with pytest.raises(RemoteMissingError, match="s3://nosuch/x: there is no such bucket; create it first"):
            store.push(tiny_package().path, "s3://nosuch/x")

    def test_no_credentials(self, s3, monkeypatch):  # noqa: F811
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(RemoteError, match="no credentials for S3: set AWS_ACCESS_KEY_ID"):
            store.push(tiny_package().path, f"s3://{BUCKET}/x")

    def test_nobody_listens(self, s3, monkeypatch):  # noqa: F811
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(RemoteError, match=f"s3://{BUCKET}/x cannot be reached: EndpointConnectionError"):
            store.push(tiny_package().path, f"s3://{BUCKET}/x")

    def test_without_the_extra(self, monkeypatch):
        def missing(name):
            raise ImportError("Install s3fs to access S3")

        monkeypatch.setattr("fsspec.get_filesystem_class", missing)
        with pytest.raises(MissingExtraError, match=r"s3:// needs s3fs: pip install 'hubserve\[s3\]'"):
            store.push(tiny_package().path, f"s3://{BUCKET}/x")

    def test_the_manifest_comes_last(self, s3, s3_server, tmp_path):  # noqa: F811
        store.push(tiny_package().path, f"s3://{BUCKET}/order")
        listed = s3_client(s3_server).list_objects_v2(Bucket=BUCKET, Prefix="order/")["Contents"]
        times = {entry["Key"]: entry["LastModified"] for entry in listed}
        assert max(times.values()) == times["order/manifest.json"]
        assert f"order/{INCOMPLETE}" not in times


class TestHub:
    def test_the_repository_is_created_and_gets_one_commit(self, hub: LoopbackHub):  # noqa: F811
        pushed = store.push(tiny_package().path, "hf://me/flowers")
        repository = hub.repositories["me/flowers"]
        assert len(repository.commits) == 2
        assert repository.names["main"] == pushed.revision
        assert not repository.private

    def test_private(self, hub: LoopbackHub, monkeypatch):  # noqa: F811
        store.push(tiny_package().path, "hf://me/flowers", private=True)
        assert hub.repositories["me/flowers"].private
        assert store.pull("hf://me/flowers").package.manifest == tiny_package().manifest
        monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(RemoteMissingError, match="not open to this account; log in"):
            store.pull("hf://me/flowers")

    def test_a_commit_that_fails_changes_nothing(self, hub: LoopbackHub):  # noqa: F811
        first = store.push(other_package().path, "hf://me/flowers")
        hub.answers[COMMIT] = lambda handler, body: handler.refuse(500, "", "the hub fails")
        with pytest.raises(RemoteError, match="answered with HTTP 500"):
            store.push(tiny_package().path, "hf://me/flowers", force=True)
        assert hub.repositories["me/flowers"].names["main"] == first.revision
        assert store.pull("hf://me/flowers").package.manifest == other_package().manifest

    def test_two_at_the_same_time(self, hub: LoopbackHub):  # noqa: F811
        store.push(other_package().path, "hf://me/flowers")
        hub.answers[COMMIT] = lambda handler, body: handler.refuse(412, "", "A commit has happened since.")
        with pytest.raises(RemoteError, match="was changed by somebody else during the push"):
            store.push(tiny_package().path, "hf://me/flowers", force=True)

    def test_the_parent_is_compared(self, hub: LoopbackHub):  # noqa: F811
        """The loopback hub compares it as the real one does: a commit in between is not overwritten."""
        store.push(other_package().path, "hf://me/flowers")
        repository = hub.repositories["me/flowers"]

        def another_first(handler, body):
            del hub.answers[COMMIT]
            repository.commit({**repository.files, "theirs.txt": b"x"})
            handler.commit(body, "me/flowers", "main")

        hub.answers[COMMIT] = another_first
        with pytest.raises(RemoteError, match="was changed by somebody else during the push"):
            store.push(tiny_package().path, "hf://me/flowers", force=True)
        assert "theirs.txt" in repository.files

    @pytest.mark.parametrize("token", ["", "hf_wrong"])
    def test_not_logged_in(self, hub: LoopbackHub, monkeypatch, token):  # noqa: F811
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(RemoteError, match="log in with `hf auth login` or HF_TOKEN"):
            store.push(tiny_package().path, "hf://me/flowers")
        assert hub.repositories == {}

    def test_no_permission(self, hub: LoopbackHub):  # noqa: F811
        with pytest.raises(RemoteError, match="hf://you/flowers: this account has no permission there"):
            store.push(tiny_package().path, "hf://you/flowers")

    def test_nobody_listens(self, hub: LoopbackHub, monkeypatch):  # noqa: F811
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(RemoteError, match=r"http://127.0.0.1:9 cannot be reached: .*refused"):
            store.push(tiny_package().path, "hf://me/flowers")

    def test_branches(self, hub: LoopbackHub):  # noqa: F811
        first = store.push(other_package().path, "hf://me/flowers")
        with pytest.raises(RemoteMissingError, match="has no such revision"):
            store.push(tiny_package().path, "hf://me/flowers@dev", force=True)
        hub.repositories["me/flowers"].names["dev"] = first.revision
        store.push(tiny_package().path, "hf://me/flowers@dev", force=True)
        assert store.pull("hf://me/flowers").package.manifest == other_package().manifest
        assert store.pull("hf://me/flowers@dev").package.manifest == tiny_package().manifest
        assert store.pull("hf://me/flowers", revision="dev", version="again").package.manifest == tiny_package().manifest
        assert store.pull("hf://me/flowers", revision=first.revision).package.manifest == other_package().manifest

    def test_a_repository_that_was_made_at_the_web_site(self, hub: LoopbackHub):  # noqa: F811
        store.push(other_package().path, "hf://me/flowers")
        hub.repositories["me/flowers"].commit({".gitattributes": b"", "README.md": b"---\nlicense: mit\n---\n"})
        store.push(tiny_package().path, "hf://me/flowers")
        assert store.pull("hf://me/flowers").package.manifest == tiny_package().manifest

    def test_the_token_is_not_in_messages(self, hub: LoopbackHub):  # noqa: F811
        hub.answers[COMMIT] = lambda handler, body: handler.refuse(500, "", "the hub fails")
        with pytest.raises(RemoteError) as raised:
            store.push(tiny_package().path, "hf://me/flowers")
        assert TOKEN not in str(raised.value)


def test_offline(monkeypatch):
    monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
    for url in ("hf://me/x", "s3://bucket/x"):
        with pytest.raises(RemoteError, match="is on another machine, and HUBSERVE_OFFLINE is set"):
            store.push(tiny_package().path, url)


def test_the_package_itself_is_unchanged():
    before = {path.name: path.read_bytes() for path in tiny_package().path.iterdir()}
    store.push(tiny_package().path, "memory://unchanged/x")
    assert before == {path.name: path.read_bytes() for path in Path(tiny_package().path).iterdir()}
    read_package(tiny_package().path).verify()
