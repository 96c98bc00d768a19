"""One picture, one answer, whoever gives it: PyTorch, the package, the fast preparation, and the service."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest

from hubserve import store
from hubserve.cards.labels import labels
from hubserve.data.image_folder import labelled_images
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.model_source import card_source
from hubserve.export.write_package import write_package
from hubserve.hub import load_card
from hubserve.hub.registry import load_model
from hubserve.package.package import read_package
from hubserve.package.predictions import softmax
from hubserve.preprocess import decode_image
from hubserve.service.engine import Engine
from tests.service.conftest import Server
from tests.stores import store_at

pytestmark = [pytest.mark.xdist_group("server"), pytest.mark.slow]

CARD = "efficientnet-lite0"
RIGHT = {"bicubic": 224, "bilinear": 224}
"""Pictures of the 250 whose class the real weights name; timm's port of them names as many."""


@pytest.fixture(scope="module", params=[pytest.param("bicubic", marks=pytest.mark.long), "bilinear"])
def interpolation(request) -> str:
    """Bicubic is the card's own; only bilinear pictures are prepared by the fast resize, see Preprocess.fast."""
    return request.param


@pytest.fixture(scope="module")
def package(interpolation, lite0, tmp_path_factory) -> Path:
    """The real weights, with pictures resized in that way."""
    card = load_card(CARD)
    if interpolation == card.preprocess.interpolation:
        return lite0
    source = card_source(card)
    other = source.preprocess.model_copy(update={"interpolation": interpolation})
    source = replace(source, name=f"{CARD}-{interpolation}", preprocess=other)
    return write_package(source, tmp_path_factory.mktemp("packages") / source.name, formats=("onnx",)).path


@pytest.fixture(scope="module")
def tag(package, server) -> Iterator[str]:
    """Of the package in the server's store."""
    with store_at(server.home):
        before = {model.tag for model in store.list_models()}
        stored = store.publish(package).tag
    yield stored
    if stored not in before:
        with store_at(server.home):
            store.delete(stored)


@pytest.fixture(scope="module")
def pictures(shared) -> list[tuple[Path, int]]:
    return list(labelled_images(shared / "data" / "imagenet_samples", labels("imagenet-1k")).items)


@pytest.fixture(scope="module")
def reference(package, pictures) -> np.ndarray:
    """(pictures, classes): what PyTorch says of pictures that PIL prepared, with no package and no service between."""
    model, prepare = EagerRunner(load_model(load_card(CARD))), read_package(package).manifest.preprocess.reference
    rows = [model(prepare(decode_image(path.read_bytes()))[None])[0] for path, _ in pictures]
    return softmax(np.array(rows, np.float64))


def check_the_same(found: np.ndarray, reference: np.ndarray) -> None:
    """At most one picture in 250 gets another class, and no probability moves by more than 0.02."""
    assert found.shape == reference.shape == (250, 1000)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5), "probabilities of all classes"
    others = np.flatnonzero(found.argmax(axis=1) != reference.argmax(axis=1))
    assert len(others) <= 1, f"pictures {others.tolist()} get another class"
    strays = np.abs(found - reference).max(axis=1)
    assert strays.max() <= 0.02, f"picture {strays.argmax()} strays by {strays.max():.4f}"


def test_the_reference_is_as_good_as_published(interpolation, reference, pictures):
    hits = sum(int(row.argmax()) == right for row, (_, right) in zip(reference, pictures, strict=True))
    assert abs(hits - RIGHT[interpolation]) <= 1


def test_the_package(package, pictures, reference):
    opened = read_package(package)
    run, prepare = opened.runner("onnx"), opened.manifest.preprocess.reference
    rows = [run(prepare(decode_image(path.read_bytes()))[None])[0] for path, _ in pictures]
    check_the_same(softmax(np.array(rows, np.float64)), reference)


def test_the_fast_preparation(package, pictures, reference):
    engine = Engine(read_package(package), device="cpu")
    rows = [engine.classify(path.read_bytes()).logits for path, _ in pictures]
    check_the_same(softmax(np.array(rows, np.float64)), reference)


def test_the_service(server: Server, tag, pictures, reference):
    with httpx2.Client(base_url=server.url, params={"model": tag, "top_k": 1000}, timeout=60) as client:

        def ask(path: Path) -> list[float]:
            answer = client.post("/classify", content=path.read_bytes()).raise_for_status().json()
            assert answer["model"] == tag
            shares = {p["index"]: p["probability"] for p in answer["predictions"]}
            return [shares[index] for index in range(1000)]

        # Several at once, so that pictures meet in batches as they do in service.
        with ThreadPoolExecutor(4) as pool:
            rows = list(pool.map(ask, (path for path, _ in pictures)))
    check_the_same(np.array(rows), reference)
