"""ImageClassifier: the service's predictions in Python, its transform in a DataLoader, and features."""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from hubserve.errors import DeviceError, ImageError, LogitsError, SpaceError, TensorError, TopKError
from hubserve.image_classifier import BATCH, ImageClassifier
from hubserve.load_classifier import load
from hubserve.package.package import read_package
from hubserve.preprocess import Preprocess
from hubserve.service.engine import Engine
from tests.export.nets import small_source
from tests.images import noise, photo

PHOTOS = [photo("coffee"), photo("chelsea"), noise(50)]


def classifier(**options) -> ImageClassifier:
    source = small_source()
    return ImageClassifier(source.model, source.preprocess, source.labels, name="small", arch=source.arch, **options)


@pytest.fixture(scope="module")
def model() -> ImageClassifier:
    return classifier()


def test_predictions_are_those_of_the_service():
    package = Path(__file__).parent / "golden" / "package"
    engine, model = Engine(read_package(package), device="cpu"), load(package)
    for image in PHOTOS:
        expected = engine.classify(image).predictions
        found = model(image)
        assert [prediction.label for prediction in found] == [prediction.label for prediction in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.probability == pytest.approx(theirs.probability, abs=1e-5)


def test_one_image_or_several_of_any_kind(model, tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(PHOTOS[1])
    opened = Image.open(io.BytesIO(PHOTOS[1]))
    one = model(path)
    assert len(one) == 5
    assert model([path]) == [one]
    assert model(str(path)) == model(PHOTOS[1]) == model(np.asarray(opened)) == model(opened) == one
    for several in ([PHOTOS[1], path, opened, str(path)], (path, path)):
        for found in model(several, top_k=2):
            assert [prediction.index for prediction in found] == [prediction.index for prediction in one[:2]]
    assert model([]) == []
    assert [len(found) for found in model([noise(40, i) for i in range(2 * BATCH + 1)], 1)] == [1] * (2 * BATCH + 1)


def test_prepared_images(model):
    batch = torch.stack([model.preprocess(image) for image in PHOTOS])
    for found, image in zip(model(batch), PHOTOS, strict=True):
        assert [prediction.index for prediction in found] == [prediction.index for prediction in model(image)]
    assert model(batch[:0]) == []
    for wrong in (batch[0], batch[:, :1], batch[:, :, 1:], (batch * 10).byte()):
        with pytest.raises(TensorError, match=r"prepared images have the shape \(n, 3, 32, 32\)"):
            model(wrong)


def test_a_temperature_changes_probabilities_and_no_order():
    plain, warm = classifier()(PHOTOS[0], 7), classifier(temperature=3.0)(PHOTOS[0], 7)
    assert [prediction.index for prediction in plain] == [prediction.index for prediction in warm]
    assert warm[0].probability < plain[0].probability
    assert sum(prediction.probability for prediction in warm) == pytest.approx(1)


def test_the_transform_works_in_a_data_loader(model, tmp_path):
    for label, image in zip(("cup", "cat"), PHOTOS, strict=False):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_bytes(image)
    data = ImageFolder(tmp_path, transform=model.preprocess)
    batch, _ = next(iter(DataLoader(data, batch_size=2, num_workers=1)))
    assert torch.equal(batch, torch.stack([model.preprocess(PHOTOS[1]), model.preprocess(PHOTOS[0])]))
    assert model.network(batch).shape == (2, 7)
    assert pickle.loads(pickle.dumps(model.preprocess)) == model.preprocess
    assert (batch.dtype, batch.shape[1:]) == (torch.float32, (3, 32, 32))


def test_features_are_the_inputs_of_the_last_layer(model):
    features = model.features(PHOTOS)
    assert features.shape == (3, 32)
    last = model.network.classifier
    with torch.no_grad():
        logits = model.network(torch.stack([model.preprocess(image) for image in PHOTOS]))
    torch.testing.assert_close(last(features), logits)
    torch.testing.assert_close(model.features(PHOTOS[1]), features[1])
    torch.testing.assert_close(model.features(torch.stack([model.preprocess(image) for image in PHOTOS])), features)
    assert model.features([]).shape == (0, 32)
    nn.Linear(32, 2)(features).sum().backward()  # A head of one's own can be trained on them.


def test_features_from_several_threads(model):
    expected = [model.features(image) for image in PHOTOS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: (model.features(PHOTOS[i % 3]), model(PHOTOS[i % 3]))[0], range(30)))
    for i, features in enumerate(found):
        torch.testing.assert_close(features, expected[i % 3])


def test_features_of_a_head_that_is_a_convolution_and_of_none():
    head = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.Flatten())
    wrapped = ImageClassifier(head, Preprocess(input_size=8, resize=8), ("a", "b"))
    assert wrapped.features(PHOTOS[0]).shape == (4,)
    headless = ImageClassifier(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), Preprocess(), ("r", "g", "b"))
    assert len(headless(PHOTOS[0])) == 3
    with pytest.raises(SpaceError, match="no features"):
        headless.features(PHOTOS[0])


def test_a_network_in_training_is_evaluated_and_stays_in_training():
    ours = classifier()
    expected = ours(PHOTOS[0])
    ours.network.train()
    ours.network.stem.eval()
    before = {name: tensor.clone() for name, tensor in ours.network.state_dict().items()}
    assert ours(PHOTOS[0]) == expected
    assert ours.network.training
    assert not any(module.training for module in ours.network.stem.modules())
    for name, tensor in ours.network.state_dict().items():
        assert torch.equal(before[name], tensor), name


def test_types_of_the_network():
    ours = classifier()
    expected = ours(PHOTOS[0])
    ours.network.double()
    assert [prediction.index for prediction in ours(PHOTOS[0])] == [prediction.index for prediction in expected]
    assert ours.features(PHOTOS[0]).dtype == torch.float32


def test_refusals(model, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"a\.jpg: 8 bytes that are not a readable image"):
        model([PHOTOS[0], str(tmp_path / "a.jpg")])
    with pytest.raises(ImageError, match=r"image 1 of the list: 8 bytes that are not a readable image"):
        model([PHOTOS[0], b"no image", PHOTOS[0]])
    with pytest.raises(ImageError, match="not a NoneType"):
        model(None)
    with pytest.raises(TopKError, match="between 1 and 7"):
        model(PHOTOS[0], top_k=8)
    with pytest.raises(DeviceError, match="device = 'warp' cannot be used"):
        model.to("warp")


def test_logits_that_are_not_finite():
    ours = classifier()
    ours.network.classifier.bias.data[3] = float("nan")
    with pytest.raises(LogitsError, match="not finite"):
        ours(PHOTOS[0])


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (nn.Flatten(), r"mine: the network returns \(1, 192\) where logits of shape \(1, 2\) are expected"),
        (nn.GRU(8, 2), "the network returns a tuple"),
    ],
)
def test_a_network_that_is_no_classifier(network, says):
    ours = ImageClassifier(network, Preprocess(input_size=8, resize=8), ("a", "b"), name="mine")
    if isinstance(network, nn.GRU):
        ours.network.register_forward_pre_hook(lambda _, given: (given[0][0],))
    for call in (ours, ours.features):
        with pytest.raises(SpaceError, match=says):
            call(PHOTOS[0])


def test_what_it_is_is_printed(model):
    assert repr(model) == "<ImageClassifier 'small': 7 classes, images of 32 x 32>"
