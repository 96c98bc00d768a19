"""The new head, and that everything else is loaded strictly."""

from __future__ import annotations

from random import Random

import pytest
import torch

from hubserve.errors import KeyFormatError
from hubserve.hub.registry import get_space
from hubserve.training.finetuning.new_head import with_new_head
from tests.hub.image_spaces import IMAGE_SPACES
from tests.marks import slow_but

QUICK = {"ProxylessNAS", "NasBench201"}
WITH_LABELS = {name: {"num_labels": 7} for name in IMAGE_SPACES}


@pytest.mark.parametrize("name", slow_but(IMAGE_SPACES, QUICK))
def test_the_body_is_kept_and_the_head_is_new(name):
    space = get_space(name, WITH_LABELS[name])
    arch = space.random(Random(0))
    state = space.freeze(arch).state_dict()
    made = with_new_head(space, arch, state, classes=4)
    own = made.model.state_dict()
    assert made.head
    assert made.space.num_labels == 4
    for key, tensor in own.items():
        if key in made.head:
            assert tensor.shape[0] == 4
            assert not tensor.any()
        else:
            assert torch.equal(tensor, state[key])


def test_as_many_classes_as_before_still_mean_a_new_head():
    space = get_space("ProxylessNAS", {"num_labels": 7})
    arch = space.random(Random(0))
    made = with_new_head(space, arch, space.freeze(arch).state_dict(), classes=7)
    assert made.head == ("classifier.weight", "classifier.bias")
    assert not made.model.get_parameter("classifier.weight").any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("stem.0.weight"), r"the weights lack \['stem.0.weight'\]"),
        (lambda state: state.update(other=torch.zeros(1)), r"have \['other'\]"),
        (lambda state: state.update({"stem.0.weight": torch.zeros(3)}), r"stem.0.weight has the shape \(3,\)"),
        (lambda state: state.update({"classifier.weight": torch.zeros(3, 3)}), "classifier.weight has the shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message):
    space = get_space("ProxylessNAS", {"num_labels": 7})
    arch = space.random(Random(0))
    state = dict(space.freeze(arch).state_dict())
    change(state)
    with pytest.raises(KeyFormatError, match=message):
        with_new_head(space, arch, state, classes=4)
