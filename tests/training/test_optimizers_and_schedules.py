"""Learning rates over the steps."""

from __future__ import annotations

import math

import pytest
import torch

from hubserve.training.optimizers_and_schedules import OPTIMIZERS, find_optimizer, find_schedule


def rates(name, steps, warm_up=0.0):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = find_schedule(name, warm_up)
    if schedule is None:
        return None
    scheduler, found = schedule(optimizer, steps), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_is_half_a_wave():
    assert rates("cosine", 8) == pytest.approx([1 + math.cos(math.pi * step / 8) for step in range(8)])


def test_steps_are_tenths():
    assert rates("step", 8) == pytest.approx([2.0] * 4 + [0.2] * 2 + [0.02] * 2)


def test_a_warm_up_rises_to_where_the_schedule_begins():
    assert rates("cosine", 8, 0.5) == pytest.approx(
        [0.5, 1.0, 1.5, 2.0] + [1 + math.cos(math.pi * step / 4) for step in range(4)]
    )
    assert rates("none", 4, 0.5) == pytest.approx([1.0, 2.0, 2.0, 2.0])


def test_none_is_no_schedule():
    assert rates("none", 4) is rates(None, 4) is None


def test_one_s_own_are_taken_as_they_are():
    def make(optimizer, steps):
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=steps)

    assert rates(make, 3) == pytest.approx([1.0] * 3)
    assert find_optimizer(torch.optim.Adagrad) is torch.optim.Adagrad


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_named_optimizer_takes_a_step(name):
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = find_optimizer(name)([parameter], lr=0.1, weight_decay=0.0)
    (parameter**2).sum().backward()
    optimizer.step()
    assert parameter.item() < 1.0
