"""`hubserve publish`, `delete`, `store-export` and `store-import`."""

from __future__ import annotations

import shutil

from hubserve import store
from tests.stores import store_at


def test_publish_says_the_tag(hubserve, tiny):
    tag = hubserve("publish", tiny).fine().strip()
    assert tag == store.resolve("tiny").tag
    assert hubserve("publish", tiny, "--json").json() == {"tag": tag, "path": str(store.resolve(tag).path)}
    assert len(store.list_models()) == 1


def test_publish_under_a_name_and_version(hubserve, tiny):
    assert hubserve("publish", tiny, "--name", "mine", "--version", "v1").fine() == "mine:v1\n"
    assert hubserve("publish", "mine:v1", "--name", "yours", "--version", "v2").fine() == "yours:v2\n"
    assert store.resolve("yours").package.manifest == store.resolve("mine").package.manifest


def test_a_version_is_not_changed_though_a_card_has_its_name(hubserve, tiny):
    stored = store.publish(tiny, name="efficientnet-lite0")
    assert "never changes" in hubserve("publish", "efficientnet-lite0", "--profile").refused("ProfileError")
    assert list(stored.package.manifest.files) == list(store.resolve("efficientnet-lite0").package.manifest.files)


def test_publish_refuses(hubserve, tiny, small, tmp_path):
    hubserve("publish", tiny, "--name", "mine", "--version", "v1").fine()
    message = hubserve("publish", small, "--name", "mine", "--version", "v1").refused("AlreadyPublishedError")
    assert message == "mine:v1 exists and is another package; give another --version, or delete it first"
    assert "name 'No Name' is not allowed" in hubserve("publish", tiny, "--name", "No Name").refused("StoreError")
    assert "version 'latest' is not allowed" in hubserve("publish", tiny, "--version", "latest").refused("StoreError")
    hubserve("publish", "nosuch").refused("ModelNotFoundError")
    shutil.copytree(tiny, tmp_path / "changed")
    (tmp_path / "changed" / "labels.txt").write_text("one\n")
    assert "labels.txt was changed" in hubserve("publish", tmp_path / "changed").refused("PackageError")
    assert [model.tag for model in store.list_models()] == ["mine:v1"]


def test_delete(hubserve, tiny):
    tag = hubserve("publish", tiny).fine().strip()
    assert hubserve("delete", tag).fine() == f"deleted {tag}\n"
    assert store.list_models() == []
    hubserve("publish", tiny).fine()
    assert hubserve("delete", "tiny", "--json").json() == {"deleted": tag}
    assert hubserve("delete", "tiny").refused("ModelNotFoundError").startswith("the store has no 'tiny': it is empty")


def test_to_another_machine(hubserve, tiny, tmp_path):
    tag = hubserve("publish", tiny).fine().strip()
    written = hubserve("store-export", "tiny", tmp_path).fine().strip()
    assert hubserve("store-export", tag, tmp_path / "again", "--json").json()["path"] == f"{tmp_path / 'again'}.bentomodel"
    with store_at(tmp_path / "elsewhere"):
        assert hubserve("store-import", written).fine() == f"{tag}\n"
        assert hubserve("store-import", written, "--json").json() == {"tag": tag, "path": str(store.resolve(tag).path)}
        store.resolve(tag).package.verify()


def test_to_another_machine_refuses(hubserve, tmp_path):
    hubserve("store-export", "tiny", tmp_path).refused("ModelNotFoundError")
    message = hubserve("store-import", tmp_path / "nosuch").refused("StoreError")
    assert "is not a model that was exported from a store" in message
