"""The average of shared tensors, which may grow."""

from __future__ import annotations

import torch

from hubserve.supernet import Supernet
from hubserve.supernet.shared_average import SharedAverage
from hubserve.training.moving_average import moving_average
from tests.supernet.spaces import Small


def change(tensors) -> None:
    with torch.no_grad():
        for parameter in tensors.parameters():
            parameter += torch.randn_like(parameter)


def test_it_is_the_moving_average_and_survives_a_checkpoint():
    torch.manual_seed(0)
    tensors = Supernet(Small()).tensors
    average, expected = SharedAverage(tensors, 0.9), moving_average(tensors, 0.9)
    for _ in range(3):
        change(tensors)
        average.update()
        expected.update_parameters(tensors)
    again = SharedAverage(tensors, 0.9)
    again.load_state_dict(average.state_dict())
    change(tensors)
    for each in (average, again):
        each.update()
    expected.update_parameters(tensors)
    for each in (average, again):
        each.copy_to_tensors()
        assert all(torch.equal(tensors[key], value) for key, value in expected.module.state_dict().items())


def test_tensors_that_grow_keep_their_average():
    supernet = Supernet(Small())
    tensors, key = supernet.tensors, next(key for key, p in supernet.tensors.named_parameters() if p.dim() == 4)
    average = SharedAverage(tensors, 0.9)
    small = tensors[key].detach().clone()
    grown = torch.ones(small.shape[0] + 2, *small.shape[1:])
    grown[: len(small)] = small
    tensors._register(key, grown, is_buffer=False, requires_grad=True)
    average.update()
    average.copy_to_tensors()
    torch.testing.assert_close(tensors[key].detach(), grown)
