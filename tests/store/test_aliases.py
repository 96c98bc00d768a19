"""Aliases: kept beside the store, changed in one step, whoever else is at work."""

from __future__ import annotations

import threading

import pytest

from hubserve import store
from hubserve.errors import AliasError, ModelNotFoundError
from hubserve.store import aliases
from hubserve.store.aliases import Alias
from tests.stores import store_at, tiny_package


@pytest.fixture(autouse=True)
def home(tmp_path):
    with store_at(tmp_path / "bentoml") as home:
        store.publish(tiny_package().path, version="v1")
        yield home


def test_none_at_first():
    assert aliases.list_aliases() == {}
    assert aliases.stamp() == (0, 0)


def test_set_and_delete(home):
    assert aliases.set_alias("production", "tiny:v1") == Alias(model="tiny:v1")
    assert aliases.set_alias("next", "tiny", canary="tiny:v1", weight=99).weight == 99
    assert list(aliases.list_aliases()) == ["production", "next"]
    aliases.delete_alias("production")
    assert list(aliases.list_aliases()) == ["next"]
    assert {path.name for path in home.iterdir()} == {"models", "tmp", ".number.lock", aliases.FILE, f"{aliases.FILE}.lock"}


def test_what_a_name_means():
    tag = store.resolve("tiny").tag
    assert aliases.resolve("tiny").tag == aliases.resolve(tag).tag == tag
    aliases.set_alias("production", "tiny", canary=tag)
    assert aliases.resolve("production").tag == tag
    with pytest.raises(ModelNotFoundError, match=r"has no 'producton'.*Of the aliases: Did you mean production\?"):
        aliases.resolve("producton")


def test_a_change_is_another_stamp():
    stamps = [aliases.stamp()]
    aliases.set_alias("production", "tiny:v1")
    stamps.append(aliases.stamp())
    aliases.set_alias("production", "tiny:v1")
    stamps.append(aliases.stamp())
    assert len(set(stamps)) == 3


@pytest.mark.parametrize("name", ["", "A", "a/b", "../x", "a b", "-a", "x" * 64, "latest", "tiny", "a:b"])
def test_names_that_are_no_names(name):
    with pytest.raises(AliasError, match="is not allowed"):
        aliases.set_alias(name, "tiny:v1")
    assert aliases.list_aliases() == {}


@pytest.mark.parametrize("weight", [0, 100, -1])
def test_a_canary_s_share(weight):
    with pytest.raises(AliasError, match=f"weight = {weight}"):
        aliases.set_alias("production", "tiny:v1", canary="tiny:v1", weight=weight)


def test_what_the_store_does_not_have():
    with pytest.raises(ModelNotFoundError):
        aliases.set_alias("production", "tiny:v1", canary="tiny:v2")
    with pytest.raises(ModelNotFoundError, match="no alias is called 'production'"):
        aliases.delete_alias("production")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": {}}', b'{"a": {"model": "x", "weight": 100}}', b"\xff"])
def test_a_damaged_file_is_told(home, content):
    (home / aliases.FILE).write_bytes(content)
    with pytest.raises(AliasError, match="cannot be read"):
        aliases.list_aliases()


def test_many_at_once_lose_none():
    threads = [threading.Thread(target=aliases.set_alias, args=(f"alias{i}", "tiny:v1")) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(aliases.list_aliases()) == 16
