"""BentoML's own client, which makes methods of what /schema.json describes."""

from __future__ import annotations

import bentoml
import pytest
from bentoml.exceptions import BentoMLException

from tests.images import photo

pytestmark = [pytest.mark.xdist_group("server"), pytest.mark.slow]


@pytest.fixture(scope="module")
def client(server):
    with bentoml.SyncHTTPClient(server.url) as client:
        yield client


@pytest.fixture
def coffee(tmp_path):
    path = tmp_path / "coffee.jpg"
    path.write_bytes(photo("coffee"))
    return path


def test_classify(client, coffee):
    answer = client.classify(image=coffee, top_k=2)
    assert [set(entry) for entry in answer["predictions"]] == [{"label", "index", "probability"}] * 2
    assert answer["predictions"][0]["label"] == "espresso"
    assert client.classify(coffee, "efficientnet-lite0")["model"].startswith("efficientnet-lite0:")


def test_several_images(client, coffee):
    answer = client.classify(image=[coffee, coffee])
    assert [result["predictions"][0]["label"] for result in answer["results"]] == ["espresso"] * 2


def test_embed(client, coffee):
    assert len(client.embed(image=coffee)["features"]) == 1280


def test_texts_arrive_as_json(client):
    with pytest.raises(BentoMLException, match=r"efficientnet-lite0:\S+ is no text classifier: it takes images"):
        client.classify_text(text="a good film", top_k=1)
    with pytest.raises(BentoMLException, match="both 'text' and 'texts'"):
        client.classify_text(text="a good film", texts=["a bad one"])


def test_arguments_are_checked(client, coffee):
    with pytest.raises(TypeError, match="topk"):
        client.classify(image=coffee, topk=2)
    with pytest.raises(TypeError, match="image"):
        client.classify(top_k=2)
    with pytest.raises(BentoMLException, match="nosuch"):
        client.classify(image=coffee, model="nosuch")


def test_others_are_refused_without_the_token(client):
    for call in (lambda: client.start_job(job="x"), lambda: client.start_export(model="efficientnet-lite0")):
        with pytest.raises(BentoMLException, match="HUBSERVE_TOKEN"):
            call()
