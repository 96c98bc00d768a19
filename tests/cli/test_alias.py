"""`hubserve alias`: set, list, delete, and what cannot be."""

from __future__ import annotations

import pytest

from hubserve import store
from hubserve.store import aliases


@pytest.fixture
def versions(home, tiny) -> tuple[str, str]:
    return store.publish(tiny, version="v1").tag, store.publish(tiny, version="v2").tag


def test_set_list_delete(hubserve, versions):
    assert hubserve("alias", "set", "production", "tiny:v1").fine() == "production means tiny:v1\n"
    said = hubserve("alias", "set", "production", "tiny:v1", "--canary", "tiny:v2", "--weight", "25").fine()
    assert said == "production means tiny:v1, and 25 % of its traffic to tiny:v2\n"
    assert aliases.list_aliases()["production"].weight == 25
    listed = hubserve("alias", "list", "--json").json()
    assert listed == [{"name": "production", "model": "tiny:v1", "canary": "tiny:v2", "weight": 25}]
    assert "production" in hubserve("alias", "list").fine()
    assert hubserve("alias", "delete", "production", "--json").json() == {"deleted": "production"}
    assert aliases.list_aliases() == {}


def test_a_canary_gets_ten_percent_unless_told_otherwise(hubserve, versions):
    assert hubserve("alias", "set", "x", "tiny", "--canary", "tiny:v2", "--json").json()["weight"] == 10


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (("set", "production", "nosuch"), "ModelNotFoundError", "no 'nosuch'"),
        (("set", "tiny", "tiny:v1"), "AliasError", "a model in the store is called so"),
        (("set", "x", "tiny", "--weight", "5"), "AliasError", "there is none; name it with --canary"),
        (("set", "x", "tiny", "--canary", "tiny:v2", "--weight", "0"), "AliasError", "1 to 99"),
        (("delete", "production"), "ModelNotFoundError", "no alias is called 'production'"),
    ],
)
def test_what_cannot_be(hubserve, versions, arguments, kind, says):
    assert says in hubserve("alias", *arguments).refused(kind)
    assert aliases.list_aliases() == {}
