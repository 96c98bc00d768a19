"""How the images of an epoch are divided into steps, and the steps among processes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubserve.training.finetuning.divided_batches import divided_batches
from hubserve.training.seeding import seeded


def divided(n, batch_size, processes):
    """The steps of each process."""
    found = []
    for rank in range(processes):
        with seeded(3):
            found.append(divided_batches(n, batch_size, (rank, processes)))
    return found


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
def test_each_image_is_in_one_step_of_one_process(spare, batch_size, processes):
    n = 2 * processes + spare
    steps = divided(n, batch_size, processes)
    assert sorted(int(i) for own in steps for step in own for i in step.indices) == list(range(n))
    assert len({len(own) for own in steps}) == 1
    for together in zip(*steps, strict=True):
        sizes = [len(step.indices) for step in together]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(2, batch_size)
        # The mean of the weighted means is the mean over all images.
        values = [step.indices.double().mean() * step.weight for step in together]
        everything = torch.cat([step.indices for step in together]).double().mean()
        assert float(sum(values) / processes) == pytest.approx(float(everything))


def test_one_process_has_whole_steps_of_weight_1():
    (own,) = divided(23, 11, 1)
    assert [(len(step.indices), step.weight) for step in own] == [(11, 1.0), (12, 1.0)]


def test_steps_of_two_processes_have_twice_the_images():
    first, second = divided(30, 7, 2)
    assert [len(step.indices) for step in first] == [7, 8]
    assert [len(step.indices) for step in second] == [7, 8]
