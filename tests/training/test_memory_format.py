"""Networks are trained with the channels last, unless a layer of theirs is not computed safely so."""

import pytest
import torch
from torch import nn

from hubserve.evaluator import Classification, Trial
from hubserve.training.memory_format import training_format
from tests.supernet.spaces import TINY


@pytest.mark.parametrize(
    ("layer", "is_safe"),
    [
        (nn.Conv2d(2, 4, 1, stride=2), False),
        (nn.Conv2d(7, 4, 1, stride=(1, 2)), False),
        (nn.Conv2d(8, 4, 1, stride=2), True),
        (nn.Conv2d(1, 4, 1, stride=2), True),
        (nn.Conv2d(4, 4, 1), False),  # A supernet does not know which stride it has.
        (nn.Conv2d(4, 4, 3, stride=2), True),
        (nn.Conv2d(4, 4, 1, stride=2, groups=4), True),
        (nn.Linear(4, 4), True),
    ],
)
def test_convolutions_of_few_channels(layer, is_safe):
    found = training_format(nn.Sequential(nn.Identity(), nn.Sequential(layer)))
    assert found == (torch.channels_last if is_safe else torch.contiguous_format)


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_trial_is_trained_in_the_format_that_its_space_asks_for(monkeypatch, channels_last):
    space = TINY["MobileNetV3Space"]
    monkeypatch.setattr(type(space), "channels_last", channels_last)
    formats, networks, build = set(), [], type(space).build

    def noted(self, pick):
        network = build(self, pick)
        first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        first.register_forward_hook(lambda _, x, y: formats.add(y.is_contiguous(memory_format=torch.channels_last)))
        networks.append(network)
        return network

    monkeypatch.setattr(type(space), "build", noted)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 2
    data = torch.utils.data.TensorDataset(images, labels)
    evaluator = Classification(train_dataloaders=data, val_dataloaders=data, num_classes=10, max_epochs=1, accelerator="cpu")
    evaluator.evaluate(space, space.random(), Trial())
    assert formats == {channels_last}
    assert all(parameter.is_contiguous() for parameter in networks[-1].parameters())
