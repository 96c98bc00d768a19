"""The five spaces of cells: cells per stage, widths, the auxiliary head, drop path, and what a outline shows."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from hubserve.blocks import AuxiliaryHead, Cell, FactorizedReduce
from hubserve.errors import SpaceError
from hubserve.hub import DARTS, ENAS, PNAS, AmoebaNet, NASNet, load_card
from hubserve.hub.registry import card_space
from tests.marks import slow_but

ALL = [NASNet, ENAS, AmoebaNet, PNAS, DARTS]
SMALL = {"width": 4, "num_cells": 3}

N_OPERATIONS = {NASNet: 13, ENAS: 5, AmoebaNet: 8, PNAS: 8, DARTS: 7}
"""Radosavovic et al. 2019, table 1; DARTS without "none"."""

NODES = {NASNet: 5, ENAS: 5, AmoebaNet: 5, PNAS: 5, DARTS: 4}


def on_meta(space, arch=None):
    with torch.device("meta"):
        return space.freeze(arch or space.random(Random(0)))


@pytest.mark.parametrize("space", slow_but(ALL, {PNAS, DARTS}))  # All nodes are joined, and the loose ones alone.
class TestEverySpace:
    def test_count_by_hand(self, space):
        inputs = 1
        for node in range(2, 2 + NODES[space]):
            inputs *= (node * N_OPERATIONS[space]) ** 2
        assert space().count() == 3 * 5 * inputs**2
        assert space(**SMALL).count() == inputs**2

    def test_labels_in_order(self, space):
        edges = [(i, k) for i in range(2, 2 + NODES[space]) for k in (0, 1)]
        wanted = [f"{kind}/{what}_{i}_{k}" for kind in ("normal", "reduce") for what in ("op", "input") for i, k in edges]
        assert list(space().choices) == ["width", "depth", *wanted]
        assert list(space(**SMALL).choices) == wanted

    @pytest.mark.parametrize(("depth", "stages"), [(3, [1, 1, 1]), (4, [1, 1, 2]), (8, [2, 3, 3]), (20, [6, 7, 7])])
    def test_cells_of_each_stage(self, space, depth, stages):
        net = on_meta(space(width=4, num_cells=depth))
        assert [len(stage) for stage in net.stages] == stages

    def test_the_first_cells_of_the_later_stages_halve(self, space):
        model = space(width=4, num_cells=6)
        net = on_meta(model)
        sizes = []
        hooks = [cell.register_forward_hook(lambda m, i, o: sizes.append(tuple(o.shape[1:]))) for s in net.stages for cell in s]
        net.eval()(torch.zeros(1, 3, 16, 16, device="meta"))
        assert len(hooks) == len(sizes) == 6
        assert [size[1] for size in sizes] == [16, 16, 8, 8, 4, 4]
        outputs = [len(cell.outputs) for stage in net.stages for cell in stage]
        assert [size[0] for size in sizes] == [n * width for n, width in zip(outputs, (4, 4, 8, 8, 16, 16), strict=True)]
        assert net.classifier.in_features == sizes[-1][0]

    def test_inputs_of_another_size_are_reduced(self, space):
        net = on_meta(space(width=4, num_cells=6))
        first = [isinstance(cell.preprocessor["pre0"], FactorizedReduce) for stage in net.stages for cell in stage]
        # Behind each reduction cell; the first stage's stem keeps the size.
        assert first == [False, False, False, True, False, True]

    def test_imagenet_comes_in_at_an_eighth(self, space):
        model = space(width=4, num_cells=3, dataset="imagenet")
        net = on_meta(model)
        sizes = []
        net.stages[0][0].register_forward_hook(lambda m, i, o: sizes.append([x.shape[2] for x in (*i[0], o)]))
        assert net.eval()(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 1000)
        assert sizes == [[16, 8, 8]]
        assert (model.input_size, model.num_labels) == (224, 1000)

    def test_drop_path_reaches_every_cell_and_no_key(self, space):
        arch = space(**SMALL).random(Random(1))
        plain, dropping = on_meta(space(**SMALL), arch), on_meta(space(**SMALL, drop_path_prob=0.3), arch)
        assert list(plain.state_dict()) == list(dropping.state_dict())
        assert [m.drop_path_prob for m in dropping.modules() if isinstance(m, Cell)] == [0.3] * 3
        dropping.set_drop_path_prob(0.1)
        assert {m.drop_path_prob for m in dropping.modules() if isinstance(m, Cell)} == {0.1}

    @pytest.mark.parametrize(("dataset", "stride"), [("cifar", 3), ("imagenet", 2)])
    def test_the_auxiliary_head_reads_the_cell_it_stands_on(self, space, dataset, stride):
        for seed in range(5):
            net = on_meta(space(width=4, num_cells=6, dataset=dataset, auxiliary_loss=True), space().random(Random(seed)))
            head = net.auxiliary_head
            assert isinstance(head, AuxiliaryHead)
            assert head.features[1].stride == stride
            assert head.features[2].in_channels == len(net.stages[2][0].outputs) * 16
        assert net.state_dict().keys() - on_meta(
            space(width=4, num_cells=6, dataset=dataset), space().random(Random(seed))
        ).state_dict().keys() == {f"auxiliary_head.{key}" for key in head.state_dict()}

    def test_the_outline_shows_the_edges(self, space):
        model = space(**SMALL)
        arch = model.random(Random(2))
        outlines = model.cells(arch)
        assert list(outlines) == ["normal", "reduce"]
        for kind, outline in outlines.items():
            output = len(outline.nodes) - 1
            for i in range(2, output):
                wanted = [(arch[f"{kind}/input_{i}_{k}"][0], i, arch[f"{kind}/op_{i}_{k}"]) for k in (0, 1)]
                assert [edge for edge in outline.edges if edge[1] == i] == wanted
            joined = [source for source, target, _ in outline.edges if target == output]
            cell = on_meta(model, arch).stages[0 if kind == "normal" else 1][0]
            assert joined == cell.outputs

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"dataset": "mnist"}, "dataset = 'mnist' is not one of"),
            ({"width": (8, 0)}, r"width = \(8, 0\) must be at least 1 for cifar"),
            ({"width": 1, "dataset": "imagenet"}, "width = 1 must be at least 2 for imagenet"),
            ({"num_cells": 2}, "num_cells = 2 must be at least 3"),
            ({"drop_path_prob": 1.0}, r"drop_path_prob = 1.0 must lie in \[0, 1\)"),
        ],
    )
    def test_senseless_settings(self, space, change, message):
        with pytest.raises(SpaceError, match=f"{space.__name__}: {message}"):
            space(**change)

    @pytest.mark.parametrize("settings", [{"width": 1}, {"width": 2, "dataset": "imagenet"}])
    def test_the_narrowest_runs(self, space, settings):
        model = space(num_cells=3, **settings)
        net = on_meta(model).eval()
        assert net(torch.zeros(1, 3, model.input_size, model.input_size, device="meta")).shape == (1, model.num_labels)


def test_what_is_concatenated():
    assert {space.__name__: space.merge for space in ALL} == {
        "NASNet": "loose_end",
        "ENAS": "loose_end",
        "AmoebaNet": "loose_end",
        "PNAS": "all",
        "DARTS": "all",
    }


def test_darts_v2_is_the_published_cell():
    """Liu et al. 2019, figure 4: most of the normal cell is separable convolutions of the two inputs."""
    card = load_card("darts-v2")
    cells = card_space(card).cells(card.arch)
    normal = [name for *_, name in cells["normal"].edges if name]
    assert normal.count("sep_conv_3x3") == 5
    assert [source for source, _, name in cells["reduce"].edges if name == "max_pool_3x3"].count(0) >= 2
    net = on_meta(card_space(card), card.arch)
    assert sum(len(stage) for stage in net.stages) == 20
    assert isinstance(net.stem, nn.Sequential)
