"""`hubserve push` and `hubserve pull`."""

from __future__ import annotations

import json

import pytest

from hubserve import store
from hubserve.package.package import read_package
from tests.loopback_hub import LoopbackHub
from tests.remote_places import hub  # noqa: F401 - a fixture


def test_a_stored_model_goes_and_comes_back(hubserve, tiny, tmp_path):
    tag = hubserve("publish", tiny, "--name", "flowers").fine().strip()
    url = (tmp_path / "pushed").as_uri()
    assert hubserve("push", "flowers", url).fine() == f"{url}\n"
    assert hubserve("push", tag, url).fine() == f"{url} has this package already\n"
    assert hubserve("pull", url, "--name", "again").fine().startswith("again:")
    pulled = hubserve("pull", url, "--name", "again", "--json").json()
    assert pulled == {"tag": store.resolve("again").tag, "path": str(store.resolve("again").path)}
    assert hubserve("predict", "again", tiny.parent).code == 2  # TorchScript only, and no image: an error, and no traceback.


def test_to_a_folder(hubserve, tiny, tmp_path):
    url = (tmp_path / "pushed").as_uri()
    pushed = hubserve("push", tiny, url, "--json").json()
    assert pushed["changed"]
    assert "README.md" in pushed["files"]
    assert hubserve("pull", url, "--out", tmp_path / "out", "--sha256", pushed["sha256"][:12]).fine() == f"{tmp_path / 'out'}\n"
    read_package(tmp_path / "out").verify()
    assert "out exists" in hubserve("pull", url, "--out", tmp_path / "out").refused("PackageError")
    hubserve("pull", url, "--out", tmp_path / "out", "--overwrite").fine()
    assert "leave out --name" in hubserve("pull", url, "--out", tmp_path / "o", "--name", "x").refused("OutputError")
    assert "another package" in hubserve("pull", url, "--sha256", "00").refused("PackageError")
    assert "GB are allowed" in hubserve("pull", url, "--most-gb", "0.00001").refused("PackageError")


def test_to_hugging_face(hubserve, tiny, hub: LoopbackHub):  # noqa: F811
    pushed = hubserve("push", tiny, "hf://me/flowers", "--private", "--json").json()
    assert pushed["revision"] == hub.repositories["me/flowers"].names["main"]
    assert (
        hubserve("pull", "hf://me/flowers", "--name", "flowers", "--revision", pushed["revision"]).fine().startswith("flowers:")
    )
    assert "has no such revision" in hubserve("pull", "hf://me/flowers", "--revision", "v2").refused("RemoteMissingError")


@pytest.mark.parametrize("url", ["flowers", "ftp://host/x", "hf://flowers", "s3://", "file://x"])
def test_addresses_that_are_none(hubserve, tiny, url):
    for command in (("push", tiny, url), ("pull", url)):
        hubserve(*command).refused("RemoteError")


def test_refuses(hubserve, tiny, tmp_path):
    assert hubserve("pull", (tmp_path / "none").as_uri()).refused("RemoteMissingError").endswith("there is no such folder")
    hubserve("push", "nosuch", (tmp_path / "x").as_uri()).refused("ModelNotFoundError")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("mine")
    message = hubserve("push", tiny, (tmp_path / "x").as_uri()).refused("RemoteError")
    assert message.endswith("has other files (thesis.tex) and no package; choose another folder, or write into it with --force")
    hubserve("push", tiny, (tmp_path / "x").as_uri(), "--force").fine()
    assert (tmp_path / "x" / "thesis.tex").read_text() == "mine"


@pytest.mark.long
def test_a_pre_searched_model_gets_the_files_of_timm(hubserve, tmp_path):
    url = (tmp_path / "lite0").as_uri()
    hubserve("push", "efficientnet-lite0", url)
    config = json.loads((tmp_path / "lite0" / "config.json").read_text())
    assert config["architecture"] == "tf_efficientnet_lite0"
    assert (tmp_path / "lite0" / "model.safetensors").stat().st_size > 18_000_000
    hubserve("push", "efficientnet-lite0", (tmp_path / "plain").as_uri(), "--no-timm")
    assert not (tmp_path / "plain" / "config.json").exists()
