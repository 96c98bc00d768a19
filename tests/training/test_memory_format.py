"""Networks are trained with the channels last, unless a layer of theirs is not computed safely so."""

import pytest
import torch
from torch import nn

from hubserve.training.memory_format import training_format


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
