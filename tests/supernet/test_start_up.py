"""The work before the first step of a one-shot strategy, counted rather than timed."""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext
from functools import partial
from random import Random

import pytest
import torch
from torch import nn

from hubserve.hub import ENAS
from hubserve.space import ModelSpace
from hubserve.strategy import DARTS, RandomOneShot
from hubserve.supernet import Blend, BlendedSupernet, Supernet, memory_estimates
from hubserve.supernet.blend import BlendContext
from hubserve.supernet.paused_collection import paused_collection
from tests.marks import slow_but
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import TINY, TinyENAS, images

CELLS = TinyENAS(width=2, num_cells=3)


@pytest.fixture
def builds(monkeypatch):
    """The classes of the pickers with which networks of ENAS were built."""
    pickers = []
    real = ENAS.build
    monkeypatch.setattr(ENAS, "build", lambda self, pick: pickers.append(type(pick).__name__) or real(self, pick))
    return pickers


class TestNetworksThatAreBuilt:
    def test_for_the_shared_weights_one_for_sizes_and_one_for_values(self, builds):
        assert CELLS.choices
        builds.clear()
        Supernet(CELLS)
        assert builds == ["BlendingPicker"] * 2

    def test_before_the_first_step_of_darts(self, builds):
        search = DARTS().search(CELLS, Noise(), seed=0, total_steps=1)
        builds.clear()
        search = DARTS().search(CELLS, Noise(), seed=0, total_steps=1)
        search.prepare(images(4))
        search.memory_bytes(images(4))
        search.net.network(x=images(4))
        whole = builds.count("BlendingPicker")
        # Sizes, values, plan (two with single candidates), the memory of a step, and the network that runs.
        assert whole == len(builds) == 6

    def test_searched_widths_are_tried_with_single_candidates(self, builds):
        Supernet(TinyENAS(width=(2, 4), num_cells=3))
        # Those of the other width; the ones of the largest width have no tensor that its whole network lacks.
        assert builds.count("TaggingPicker") == 8
        assert builds.count("BlendingPicker") <= 4

    def test_those_for_sizes_are_freed_without_the_garbage_collector(self, monkeypatch):
        assert CELLS.choices
        built = []
        real = ENAS.build

        def build(self, pick):
            network = real(self, pick)
            built.append(weakref.ref(network))
            return network

        monkeypatch.setattr(ENAS, "build", build)
        with paused_collection():
            Supernet(CELLS).extract(CELLS.random(Random(0)))
            assert len(built) == 3
            assert not any(network() for network in built)

    def test_candidates_that_ask_are_built_for_a_plan(self):
        class Nested(ModelSpace):
            def build(self, pick):
                def one_of_two(label):
                    return pick.layer(
                        label, {"narrow": partial(nn.Conv2d, 3, 4, 1), "wide": partial(nn.Conv2d, 3, 4, 3, padding=1)}
                    )

                return pick.layer("layer", {"left": partial(one_of_two, "of left"), "right": partial(one_of_two, "of right")})

        assert BlendedSupernet(Nested()).blended == {"layer", "of left", "of right"}

    def test_random_one_shot_builds_no_blended_network(self, builds):
        search = RandomOneShot().search(CELLS, Noise(), seed=0, total_steps=1)
        search.prepare(images(4))
        assert builds.count("BlendingPicker") == 2


class TestLayersWithoutWeights:
    def test_each_state_is_pooled_once_in_a_pass(self, monkeypatch):
        net = BlendedSupernet(CELLS)
        calls = []
        for kind in (nn.MaxPool2d, nn.AvgPool2d):
            real = kind.forward
            monkeypatch.setattr(kind, "forward", lambda self, x, real=real: calls.append(type(self)) or real(self, x))
        output = net.train()(images(4))
        # Two nodes of two edges read 2 and 3 states in each of 3 cells; every state that is read is pooled once.
        assert calls.count(nn.MaxPool2d) == calls.count(nn.AvgPool2d) == 3 * 3
        assert output.requires_grad
        assert not net.network().context._results

    def test_the_result_and_its_gradients_are_those_of_pooling_for_each_edge(self, monkeypatch):
        net, x = BlendedSupernet(CELLS).double(), images(4).double()

        def gradients():
            net.zero_grad()
            net.train()(x, net.blends()).square().sum().backward()
            return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}

        shared = gradients()
        monkeypatch.setattr(BlendContext, "run", lambda self, layer, *inputs: layer(*inputs))
        alone = gradients()
        assert shared.keys() == alone.keys()
        assert all(torch.allclose(shared[name], alone[name], rtol=1e-9, atol=1e-12) for name in alone)

    def test_a_tensor_that_was_changed_in_place_is_pooled_again(self):
        context, x = BlendContext(), torch.ones(1, 1, 4, 4)
        first = context.run(nn.MaxPool2d(2), x)
        assert context.run(nn.MaxPool2d(2), x) is first
        assert context.run(nn.MaxPool2d(2, stride=1), x).shape == (1, 1, 3, 3)
        x.mul_(2)
        assert float(context.run(nn.MaxPool2d(2), x).max()) == 2

    def test_convolutions_of_one_state_rectify_it_once(self, monkeypatch):
        calls, real = [], nn.ReLU.forward
        monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: calls.append(x) or real(self, x))
        context, x = BlendContext(), torch.randn(2, 3, 4, 4)
        layers = [nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, k, padding=k // 2), nn.ReLU(), nn.BatchNorm2d(3)) for k in (1, 3)]
        alone = [layer(x) for layer in layers]
        calls.clear()
        together = [context.run(layer, x) for layer in layers]
        assert len(calls) == 1 + 2
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
        # What a layer changed in place is computed again for the next one.
        y = x * 100
        assert float(context.run(nn.Sequential(nn.ReLU(), nn.ReLU6(inplace=True)), y).max()) == 6
        assert torch.equal(context.run(nn.Sequential(nn.ReLU(), nn.Identity()), y), y.relu())

    def test_blends_that_were_used_without_gradients_still_pass_them_on(self):
        net = BlendedSupernet(CELLS)
        blends = net.blends()
        with torch.no_grad():
            net(images(4), blends)
        net(images(4), blends).sum().backward()
        assert all(logits.grad is not None for logits in net.archs.logits.values())

    def test_other_layers_run_for_each_call(self):
        context, layer, x = BlendContext({"a": Blend(torch.ones(1), (0,))}), nn.Dropout(0.5), torch.ones(64)
        assert not torch.equal(context.run(layer, x), context.run(layer, x))


@pytest.mark.parametrize("name", slow_but(TINY, {"ENAS"}))
def test_quick_operations_keep_the_bytes_that_those_of_torch_keep(name, monkeypatch):
    net, x = BlendedSupernet(TINY[name]), images(4)
    quick = net.activation_bytes(x), net.activation_bytes(x, 2), net.supernet.activation_bytes(x)
    monkeypatch.setattr(memory_estimates, "QuickMetaOperations", nullcontext)
    assert quick == (net.activation_bytes(x), net.activation_bytes(x, 2), net.supernet.activation_bytes(x))


def test_a_pause_of_the_collector_ends_with_an_error_and_leaves_a_stopped_one_stopped():
    with pytest.raises(KeyError), paused_collection():
        {}["paused", gc.isenabled()]
    assert gc.isenabled()
    gc.disable()
    try:
        with paused_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


class TestMemoryFormat:
    @pytest.mark.parametrize("channels_last", [True, False])
    def test_images_are_in_the_format_that_the_space_asks_for(self, monkeypatch, channels_last):
        monkeypatch.setattr(TinyENAS, "channels_last", channels_last, raising=False)
        formats, real = [], ENAS.build

        def note(network, inputs):
            if not inputs[0].is_meta:  # There, only shapes matter.
                formats.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

        def build(self, pick):
            network = real(self, pick)
            network.register_forward_pre_hook(note)
            return network

        monkeypatch.setattr(ENAS, "build", build)
        RandomOneShot().run(TinyENAS(width=8, num_cells=3), Noise(), device="cpu")
        assert formats
        assert set(formats) == {channels_last}

    def test_not_where_convolutions_have_few_channels(self, monkeypatch):
        """oneDNN writes behind the end of their gradients then."""
        monkeypatch.setattr(TinyENAS, "channels_last", True, raising=False)
        formats, real_build = [], ENAS.build

        def build(self, pick):
            network = real_build(self, pick)
            network.register_forward_pre_hook(lambda network, inputs: formats.append(inputs[0].is_contiguous()))
            return network

        monkeypatch.setattr(ENAS, "build", build)
        RandomOneShot().run(CELLS, Noise(), device="cpu")
        assert formats
        assert all(formats)
