"""NasBench101: the rules that bind its choices, and archs that mean the same."""

from __future__ import annotations

import itertools
import json
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.errors import ArchError, SpaceError
from hubserve.hub import NasBench101
from hubserve.hub.nasbench101 import OPERATIONS
from tests.hub.brute_cells import used

CONV, POOL = "conv3x3-bn-relu", "maxpool3x3"
SMALL = NasBench101(stem_out_channels=8, num_stacks=2, num_modules_per_stack=1)


def arch_of(operations, *sources) -> dict:
    names = {f"cell/op{i}": name for i, name in enumerate(operations, 1)}
    return {"cell/num_nodes": len(operations) + 2, **names, **{f"cell/input{i}": list(s) for i, s in enumerate(sources, 1)}}


CHAIN = arch_of([CONV, POOL], [0], [1], [2])


class TestRules:
    def test_edges_are_counted_before_pruning(self):
        """Ten edges, of which pruning would leave one."""
        arch = arch_of([CONV] * 4, [0], [0, 1], [0, 1, 2], [0, 1], [0])
        assert SMALL.canonical(arch) == {label: arch[label] for label in SMALL.choices if label in arch}
        too_many = {**arch, "cell/input4": [0, 1, 2]}
        assert sum(len(too_many[f"cell/input{i}"]) for i in range(1, 6)) == 10
        for call in (SMALL.validate, SMALL.freeze, SMALL.cell, SMALL.cells):
            with pytest.raises(
                ArchError, match=r"has 10 edges and may have 9, counted before pruning.*cell/input1 \.\.\. cell/input5"
            ):
                call(too_many)
        NasBench101(max_num_edges=10).validate(too_many)

    @pytest.mark.parametrize("sources", [([], [1], [2]), ([0], [], [2]), ([0], [0, 1], [])])
    def test_a_path_is_needed(self, sources):
        arch = arch_of([CONV, POOL], *sources)
        for call in (SMALL.validate, SMALL.freeze, SMALL.cell_hash):
            with pytest.raises(ArchError, match="no path leads from vertex 0, the input of the cell, to vertex 3, its output"):
                call(arch)

    def test_the_message_of_the_smallest_cell(self):
        with pytest.raises(ArchError, match=r"add edges to cell/input1$"):
            SMALL.validate({"cell/num_nodes": 2, "cell/input1": []})

    @given(st.integers(0, 2**32))
    @settings(max_examples=40, deadline=None)
    def test_draws_and_neighbours_obey(self, seed):
        rng = Random(seed)
        arch = SMALL.random(rng)
        child = SMALL.mutate(arch, rng)
        for found in (arch, child):
            n = found["cell/num_nodes"]
            edges = [(s, t) for t in range(1, n) for s in found[f"cell/input{t}"]]
            assert len(edges) <= 9
            assert used(frozenset(edges), n)
            assert SMALL.canonical(found) == found
        assert child != arch


class TestWhatMatters:
    def test_labels_of_vertices_that_are_not_there(self):
        more = {**CHAIN, "cell/op3": CONV, "cell/input4": [0, 3], "cell/final": {"anything": 1}}
        assert SMALL.canonical(more) == CHAIN

    def test_a_label_that_is_there_is_needed(self):
        for label in CHAIN:
            with pytest.raises(ArchError, match=f"no '{label}'"):
                SMALL.validate({k: v for k, v in CHAIN.items() if k != label})

    def test_what_pruning_leaves_is_the_same_network(self):
        # Vertex 2 leads nowhere; vertex 3 is reached by nobody.
        arch = arch_of([CONV, POOL, POOL], [0], [0, 1], [], [1, 3])
        pruned = arch_of([CONV], [0], [1])
        assert SMALL.cell(arch) == SMALL.cell(pruned)
        assert SMALL.cell_hash(arch) == SMALL.cell_hash(pruned)
        nets = [SMALL.freeze(a).eval() for a in (arch, pruned)]
        nets[1].load_state_dict(nets[0].state_dict())
        x = torch.randn(2, 3, 8, 8)
        assert torch.equal(nets[0](x), nets[1](x))
        assert SMALL.canonical(arch) != SMALL.canonical(pruned)

    def test_isomorphic_cells_share_a_hash(self):
        one = arch_of([CONV, POOL], [0], [0], [1, 2])
        other = arch_of([POOL, CONV], [0], [0], [1, 2])
        assert SMALL.cell_hash(one) == SMALL.cell_hash(other)
        assert SMALL.cell_hash(one) != SMALL.cell_hash(CHAIN)


class TestCounts:
    @pytest.mark.parametrize(("vertices", "edges"), [(2, 1), (3, 9), (3, 2), (4, 9), (4, 3)])
    def test_against_brute_force(self, vertices, edges):
        space = NasBench101(max_num_vertices=vertices, max_num_edges=edges)
        archs, hashes = set(), set()
        for answers in itertools.product(*(list(choice.answers()) for choice in space.choices.values())):
            arch = dict(zip(space.choices, answers, strict=True))
            try:
                archs.add(json.dumps(space.canonical(arch)))
            except ArchError:
                continue
            hashes.add(space.cell_hash(arch))
        assert space.count() == len(archs)
        assert space.count_unique() == len(hashes)

    def test_the_published_benchmark(self):
        assert NasBench101().count() == 141_331_021
        assert NasBench101().count_unique() == 423_624


def test_the_outline_is_the_pruned_cell():
    (outline,) = SMALL.cells(arch_of([CONV, POOL, POOL], [0], [0, 1], [], [1, 3])).values()
    assert outline.nodes == ("input", CONV, "output")
    assert outline.edges == ((0, 1, ""), (1, 2, ""))


@pytest.mark.parametrize("stacks", [1, 3])
def test_stacks(stacks):
    space = NasBench101(stem_out_channels=8, num_stacks=stacks, num_modules_per_stack=2, num_labels=5)
    net = space.freeze(CHAIN).eval()
    assert net.features(net.stem_conv(torch.zeros(1, 3, 16, 16))).shape == (
        1,
        8 * 2 ** (stacks - 1),
        16 >> (stacks - 1),
        16 >> (stacks - 1),
    )
    assert len(net.features) == 2 * stacks + stacks - 1
    assert net(torch.zeros(2, 3, 16, 16)).shape == (2, 5)


def test_more_vertices_than_the_benchmark():
    space = NasBench101(stem_out_channels=8, num_stacks=1, num_modules_per_stack=1, max_num_vertices=9, max_num_edges=20)
    assert list(space.choices["cell/num_nodes"].candidates) == list(range(2, 10))
    space.freeze(space.random(Random(0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_num_vertices": 1}, "leave no path"),
        ({"max_num_edges": 0}, "leave no path"),
        ({"num_stacks": 0}, "num_stacks = 0 must be at least 1"),
        ({"num_modules_per_stack": 0}, "num_modules_per_stack = 0"),
        ({"stem_out_channels": 4}, "stem_out_channels = 4 must be at least 5"),
        ({"num_labels": 0}, "num_labels = 0"),
    ],
)
def test_senseless_settings(change, message):
    with pytest.raises(SpaceError, match=message):
        NasBench101(**change)


def test_operations_are_in_the_order_of_the_benchmark():
    assert OPERATIONS == ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
