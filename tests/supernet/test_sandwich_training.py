"""Training of shared weights that begin as those of a trained network, on small images."""

from __future__ import annotations

from functools import partial
from random import Random
from types import SimpleNamespace

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from hubserve.supernet.elastic_space import ElasticSpace
from hubserve.supernet.elastic_supernet import ElasticSupernet
from hubserve.supernet.sandwich_training import SandwichTraining
from hubserve.supernet.subnet_evaluator import SubnetEvaluator, _drawn_batches
from hubserve.training.device import OneDevice
from hubserve.training.evaluator import Trial
from hubserve.training.finetuning.fine_tune import Progress, fine_tune, training_settings
from hubserve.training.finetuning.new_head import NewHead
from tests.training.finetuning.small import PREPROCESS, parts, recipe, start


def supernet_of(network: NewHead, arch: dict) -> ElasticSupernet:
    return ElasticSupernet(ElasticSpace.of(network.space, arch), network.model.state_dict())


def begin() -> tuple[ElasticSupernet, NewHead]:
    network = start()
    arch = network.space.random(Random(1))
    supernet = supernet_of(network, arch)
    return supernet, NewHead(network.space, supernet.network, network.head)


def train(supernet, largest, folder, images, epochs=2, progress=None):
    return fine_tune(
        largest,
        *images,
        recipe(epochs=epochs, early_layers="train"),
        labels=("blue", "green", "red"),
        seed=0,
        folder=folder,
        progress=progress or Progress(),
        training=partial(SandwichTraining, supernet=supernet, random_networks=1),
    )


def test_all_networks_learn_and_a_killed_training_goes_on(tmp_path):
    images = parts(tmp_path / "images")
    supernet, largest = begin()
    smallest = supernet.space.smallest
    before = supernet.extract(smallest).state_dict()
    # After each epoch: at the end, the weights are those of the best one, which may be the first.
    trained = []
    progress = Progress(epoch=lambda history: trained.append(supernet.extract(smallest).state_dict()))
    history = train(supernet, largest, tmp_path / "alone", images, progress=progress)
    assert [row.epoch for row in history] == [0, 1, 2]
    same = [name for name, tensor in trained[-1].items() if torch.equal(tensor, before[name])]
    assert same == []
    # The running statistics are those of the largest network.
    counts = {int(m.num_batches_tracked) for m in largest.model.modules() if isinstance(m, _BatchNorm)}
    assert len(counts) == 1

    def stop(history):
        if len(history) == 2:
            raise KeyboardInterrupt

    again, network = begin()
    try:
        train(again, network, tmp_path / "killed", images, progress=Progress(epoch=stop))
    except KeyboardInterrupt:
        again, network = begin()
    train(again, network, tmp_path / "killed", images)
    for name, tensor in network.model.state_dict().items():
        assert torch.equal(tensor, largest.model.state_dict()[name]), name


def test_the_largest_network_keeps_its_statistics_up_to_date_although_it_is_drawn(tmp_path):
    supernet, largest = begin()
    momenta = [m.momentum for m in largest.model.modules() if isinstance(m, _BatchNorm)]
    means = []
    progress = Progress(epoch=lambda history: means.append(largest.model.stem[1].running_mean.clone()))
    fine_tune(
        largest,
        *parts(tmp_path / "images"),
        recipe(epochs=2, early_layers="train"),
        labels=("blue", "green", "red"),
        seed=0,
        folder=tmp_path / "run",
        progress=progress,
        training=partial(SandwichTraining, supernet=supernet, random_networks=1, draw=lambda rng: supernet.space.largest),
    )
    assert [m.momentum for m in largest.model.modules() if isinstance(m, _BatchNorm)] == momenta
    assert len({tuple(mean.tolist()) for mean in means}) == 3


def test_a_network_is_scored_with_statistics_of_its_own(tmp_path):
    train_images, val_images = parts(tmp_path / "images")
    assert train_images.preprocess == PREPROCESS
    supernet, _ = begin()
    evaluator = SubnetEvaluator(supernet, train_images, val_images, OneDevice(training_settings(recipe())), seed=0)
    arch = supernet.space.smallest
    found = evaluator.evaluate(supernet.space, arch, Trial())
    assert set(found) == {"val_acc", "val_loss"}
    assert found == evaluator.evaluate(supernet.space, arch, Trial())
    own, shared = evaluator.network(arch).state_dict(), supernet.extract(arch).state_dict()
    assert torch.equal(own["stem.0.weight"], shared["stem.0.weight"])
    assert not torch.equal(own["stem.1.running_mean"], shared["stem.1.running_mean"])


@pytest.mark.parametrize(("images", "sizes"), [(2, [2]), (65, [33, 32]), (66, [33, 33]), (130, [44, 43, 43]), (600, [64] * 8)])
def test_statistics_are_measured_on_batches_of_equal_sizes(images, sizes):
    """Each batch has the same share in the statistics: one of two images beside one of 64 made them wrong by 20 %."""

    class Numbers(SimpleNamespace):
        def __len__(self) -> int:
            return images

    given = Numbers(squares=torch.tensor, normalise=lambda squares: squares)
    found = _drawn_batches(given, 0)
    assert [len(batch) for batch in found] == sizes
    assert len(set(torch.cat(found).tolist())) == sum(sizes)
