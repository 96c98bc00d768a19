"""Random views and mixtures."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubserve.jobs.fine_tune_recipe import Augmentation
from hubserve.training.finetuning.augmented_views import RandomMixtures, RandomViews
from hubserve.training.seeding import seeded

NONE = {"crop": 1.0, "flip": False, "mixup": 0.0, "cutmix": 0.0}


def squares(n: int = 4, size: int = 16) -> torch.Tensor:
    with seeded(0):
        return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8)


def test_without_changes_images_stay_as_they_are():
    given_images = squares()
    assert RandomViews(Augmentation(**NONE), 16)(given_images) is given_images
    inputs, target = RandomMixtures(Augmentation(**NONE), 3)(given_images.float(), torch.tensor([0, 1, 2, 0]))
    assert torch.equal(inputs, given_images.float())
    assert target.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("change", [{"crop": 0.3}, {"flip": True}, {"randaugment": 9}])
def test_views_differ_and_repeat_with_the_seed(change):
    views = RandomViews(Augmentation(**{**NONE, **change}), 16)
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed):
            drawn.append(views(squares(8)))
    assert drawn[0].dtype == torch.uint8
    assert drawn[0].shape == (8, 3, 16, 16)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_flip_mirrors_about_half_of_the_images():
    images = squares(200, 8)
    with seeded(3):
        views = RandomViews(Augmentation(**{**NONE, "flip": True}), 8)(images)
    mirrored = [bool((view == image.flip(-1)).all()) for view, image in zip(views, images, strict=True)]
    same = [bool((view == image).all()) for view, image in zip(views, images, strict=True)]
    assert sum(mirrored) + sum(same) == 200
    assert 60 < sum(mirrored) < 140


@given(st.sampled_from(["mixup", "cutmix"]), st.integers(2, 6), st.integers(0, 2**31), st.floats(0.1, 2.0))
def test_classes_are_mixed_as_the_images_are(kind, n, seed, alpha):
    """Images of a single value each, so that the mean of a mixture says which share of each image is in it."""
    values = torch.arange(1.0, n + 1)
    images = values[:, None, None, None].expand(n, 2, 8, 8).clone()
    with seeded(seed):
        inputs, target = RandomMixtures(Augmentation(**{**NONE, kind: alpha}), n)(images, torch.arange(n))
    assert torch.allclose(target.sum(1), torch.ones(n), atol=1e-5)
    assert torch.allclose(inputs.mean((1, 2, 3)), target @ values, atol=1e-4)
    assert torch.equal(images, values[:, None, None, None].expand(n, 2, 8, 8))


def test_one_image_is_not_mixed():
    inputs, target = RandomMixtures(Augmentation(mixup=1.0), 2)(torch.ones(1, 3, 4, 4), torch.tensor([1]))
    assert torch.equal(inputs, torch.ones(1, 3, 4, 4))
    assert target.tolist() == [[0, 1]]
