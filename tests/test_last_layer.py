"""The layer that computes the logits, and the inputs of it."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from hubserve.last_layer import InputRecorder, last_layer

IMAGES = torch.randn(2, 3, 8, 8)


class WithAuxiliaryHead(nn.Module):
    """As DARTS: a second head, which is called in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.auxiliary, self.head = nn.Linear(192, 5), nn.Linear(192, 4), nn.Linear(5, 4)

    def forward(self, images):
        flat = images.flatten(1)
        logits = self.head(self.body(flat))
        return (logits, self.auxiliary(flat)) if self.training else logits


def test_the_last_one_that_is_called_gives_the_logits():
    assert (
        last_layer(network := nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.ReLU(), nn.Linear(9, 4)), IMAGES) is network[3]
    )
    convolution = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.Flatten())
    assert last_layer(convolution, IMAGES) is convolution[1]
    auxiliary = WithAuxiliaryHead().eval()
    assert last_layer(auxiliary, IMAGES) is auxiliary.head


class Functional(nn.Module):
    """The last layer is no module."""

    def forward(self, images):
        return functional.linear(images.flatten(1), torch.ones(4, 192))


@pytest.mark.parametrize(
    "network",
    [nn.Flatten(), Functional(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), WithAuxiliaryHead()],
    ids=["no layer", "no module", "pooled afterwards", "a tuple"],
)
def test_there_may_be_none(network):
    assert last_layer(network, IMAGES) is None


def test_a_recorder_has_the_calls_of_its_thread_only():
    layer = nn.Linear(4, 2)
    with InputRecorder(layer) as recorder:
        layer(torch.ones(3, 4))
        other = threading.Thread(target=layer, args=(torch.zeros(1, 4),))
        other.start()
        other.join()
    layer(torch.zeros(5, 4))
    assert torch.equal(recorder.features(), torch.ones(3, 4))
