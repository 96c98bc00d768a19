"""Scores of archs: one scoring for each arch, the same in every process, and the batch that they are scored by."""

from __future__ import annotations

import pickle
from random import Random

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from hubserve.benchmarks.zero_cost import ZeroCostMeasure, draw_batch, zero_cost_scores
from hubserve.data.named_datasets import load_dataset
from hubserve.errors import ArchError, EvaluatorError
from hubserve.hub import NasBench201
from hubserve.training.seeding import seeded
from tests.benchmarks.zero_cost.test_score_functions import batch

SPACE = NasBench201(stem_out_channels=4, num_modules_per_stack=1)
ARCH = SPACE.random(Random(0))


def test_scores_are_those_of_the_network_with_the_seed():
    measure = ZeroCostMeasure(batch(), ["params", "naswot"], seed=5)
    with seeded(5):
        network = SPACE.freeze(ARCH)
    found = measure(SPACE, ARCH)
    assert found == zero_cost_scores(network, batch(), ["params", "naswot"], seed=5)
    assert list(found) == ["params", "naswot"]
    assert measure(SPACE, ARCH)["naswot"] != ZeroCostMeasure(batch(), seed=6)(SPACE, ARCH)["naswot"]


def test_each_arch_is_scored_once(monkeypatch):
    built = []
    freeze = NasBench201.freeze
    monkeypatch.setattr(NasBench201, "freeze", lambda space, arch: built.append(arch) or freeze(space, arch))
    measure = ZeroCostMeasure(batch(), ["params"])
    scores = measure.features(SPACE)
    first = scores(ARCH)
    first["params"] = 0.0  # A caller's own.
    again = scores(dict(reversed(ARCH.items())) | {"unknown": 1})
    assert again == measure(SPACE, ARCH) != first
    assert len(built) == 1
    measure(NasBench201(stem_out_channels=8, num_modules_per_stack=1), ARCH)
    assert len(built) == 2


def test_it_goes_to_another_process():
    measure = ZeroCostMeasure(batch())
    expected = measure(SPACE, ARCH)
    assert pickle.loads(pickle.dumps(measure))(SPACE, ARCH) == expected


def test_archs_of_another_space_are_refused():
    with pytest.raises(ArchError):
        ZeroCostMeasure(batch())(SPACE, {"width": 3})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ["nasbot"]}, r"no zero-cost score 'nasbot'. Did you mean naswot\?"),
        ({"accelerator": "gpu"}, "torch finds no CUDA device"),
    ],
)
def test_settings_that_are_refused(settings, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EvaluatorError, match=message):
        ZeroCostMeasure(batch(), **settings)


class TestDrawBatch:
    def data(self, n: int = 100) -> TensorDataset:
        return TensorDataset(torch.arange(n).float()[:, None], torch.arange(n))

    def test_random_images_with_their_targets(self):
        images, targets = draw_batch(self.data(), 16, seed=1)
        assert torch.equal(images[:, 0].long(), targets)
        assert len(set(targets.tolist())) == 16
        assert torch.equal(targets, draw_batch(self.data(), 16, seed=1)[1])
        assert not torch.equal(targets, draw_batch(self.data(), 16, seed=2)[1])

    def test_small_data_give_all(self):
        assert sorted(draw_batch(self.data(5), 16)[1].tolist()) == list(range(5))

    def test_training_images_of_labelled_data_with_random_augmentation(self):
        data = load_dataset("digits", size=16, augment=True)
        rng = torch.get_rng_state()
        images, targets = draw_batch(data, 8, seed=3)
        assert images.shape == (8, 3, 16, 16)
        torch.manual_seed(7)
        assert torch.equal(images, draw_batch(data, 8, seed=3)[0])
        torch.set_rng_state(rng)
        draw_batch(data, 8)
        assert torch.equal(torch.get_rng_state(), rng)
        assert len(targets) == 8

    def test_a_loader_gives_its_first_batch(self):
        loader = DataLoader(self.data(), 10)
        assert draw_batch(loader, 4)[1].tolist() == [0, 1, 2, 3]
        assert len(draw_batch(loader, 64)[1]) == 10

    @pytest.mark.parametrize(("n", "images", "message"), [(4, 1, "images = 1 must be at least 2"), (0, 4, "has no images")])
    def test_what_is_refused(self, n, images, message):
        with pytest.raises(EvaluatorError, match=message):
            draw_batch(DataLoader(self.data(n), 2), images)
