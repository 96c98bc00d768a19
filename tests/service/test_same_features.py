"""The features of an image are the same ones whoever computes them, on a real image and BentoML's server."""

from __future__ import annotations

import base64
import io

import httpx2
import numpy as np
from PIL import Image

from hubserve.client import Client
from hubserve.load_classifier import load
from hubserve.package.package import read_package
from tests.images import photo


def test_all_ways_agree_on_a_real_image_through_bentoml(server, lite0, tmp_path):
    """Eager PyTorch, the ONNX file, /embed, the client and /v2, within the tolerance of the parity proof."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(photo("chelsea"))
    eager = load(lite0).features(path).numpy()
    assert eager.shape == (1280,)
    package = read_package(lite0)
    pixels = package.manifest.preprocess.fast(np.asarray(Image.open(io.BytesIO(photo("chelsea")))))[None]
    _, onnx = package.runner("onnx").with_features(pixels)
    with Client(server.url) as client:
        embedded = client.embed(path)
    raw = httpx2.post(f"{server.url}/embed", content=path.read_bytes()).json()
    image = {"name": "pictures", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(path.read_bytes()).decode()]}
    body = {"inputs": [image], "outputs": [{"name": "features"}]}
    (tensor,) = httpx2.post(f"{server.url}/v2/models/efficientnet-lite0/infer", json=body).json()["outputs"]
    assert (tensor["name"], tensor["shape"]) == ("features", [1, 1280])
    for found in (onnx[0], embedded["features"], raw["features"], tensor["data"]):
        np.testing.assert_allclose(found, eager, atol=1e-4 * eager.std())
    described = httpx2.get(f"{server.url}/docs.json").json()["paths"]["/embed"]["post"]
    assert {"image/*", "application/json"} <= set(described["requestBody"]["content"])
