"""NASBERT and LightSpeech share weights in a supernet and are blended, as spaces of images are."""

from __future__ import annotations

from random import Random

import pytest
import torch

from hubserve.space import ModelSpace
from hubserve.supernet.blend import Blend
from hubserve.supernet.blended_supernet import BlendedSupernet
from hubserve.supernet.supernet import Supernet
from tests.hub.test_lightspeech import SMALL as SPEECH
from tests.hub.test_nasbert import SMALL as TEXT

MEL2PH = torch.tensor([[1, 1, 2, 3, 4, 4, 5], [1, 2, 2, 3, 0, 0, 0]])
TOKENS = torch.tensor([[2, 3, 4, 5, 6], [7, 8, 9, 0, 0]])

CASES = {"NASBERT": (TEXT, TEXT.example_inputs({"length": 7}, batch=3)[0]), "LightSpeech": (SPEECH, (TOKENS, MEL2PH))}
"""Space and a batch; the batch of LightSpeech is a tuple of arguments."""


def first(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_a_supernet_runs_what_it_extracts(name):
    space, x = CASES[name]
    net, rng = Supernet(space).eval(), Random(0)
    for _ in range(3):
        arch = space.random(rng)
        alone = net.extract(arch)
        assert alone.state_dict().keys() == space.freeze(arch).state_dict().keys()
        torch.testing.assert_close(first(net(x, arch)), first(alone(x)))


@pytest.mark.parametrize("name", CASES)
def test_a_blend_with_all_weight_on_one_arch_is_its_network(name):
    space, x = CASES[name]
    net = BlendedSupernet(space).eval()
    net.prove(x)
    operations = {label for label in space.choices if "_op_" in label or label.startswith(("encoder", "decoder"))}
    assert operations <= net.blended
    arch = everything(space, Random(1))
    blends = {label: Blend.only(space.choices[label], arch[label]) for label in net.blended}
    sampled = {label: arch[label] for label in net.sampled}
    with torch.no_grad():
        found = first(net(x, blends, sampled))
        torch.testing.assert_close(found, first(net.supernet(x, arch)), rtol=1e-4, atol=1e-4)
    loss = first(net.train()(x, sampled=sampled)).square().mean()
    loss.backward()
    assert all(net.archs.logits[label].grad is not None for label in operations)


def everything(space: ModelSpace, rng: Random) -> dict:
    """A random arch, with answers to the choices that are not active in it as well."""
    return {label: choice.random(rng) for label, choice in space.choices.items()} | space.random(rng)
