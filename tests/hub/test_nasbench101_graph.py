"""Cells as graphs: pruning by networkx, and a fingerprint that tells cells apart up to renumbering."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ArchError
from hubserve.hub.nasbench101_count import count_unique_cells
from hubserve.hub.nasbench101_graph import CellGraph
from tests.hub.brute_cells import Cell, least_numbering, pruned_cells, used

KNOWN = ("conv", "pool", "skip")


def graph_of(cell: Cell, n_vertices: int) -> CellGraph:
    edges, names = cell
    return CellGraph(names, tuple(tuple(sorted(s for s, t in edges if t == vertex)) for vertex in range(1, n_vertices)))


@st.composite
def cells(draw) -> tuple[Cell, int]:
    n = draw(st.integers(2, 7))
    edges = draw(st.sets(st.sampled_from(list(itertools.combinations(range(n), 2)))))
    return (frozenset(edges), tuple(draw(st.sampled_from(KNOWN)) for _ in range(n - 2))), n


class TestPruning:
    @given(cells())
    def test_keeps_what_lies_on_a_path(self, drawn):
        cell, n = drawn
        graph = graph_of(cell, n)
        on_a_path = sorted(used(cell[0], n))
        assert list(graph.used) == on_a_path
        if not on_a_path:
            with pytest.raises(ArchError, match="no path leads"):
                graph.pruned()
            return
        pruned = graph.pruned()
        number = {vertex: i for i, vertex in enumerate(on_a_path)}
        kept = {(number[s], number[t]) for s, t in cell[0] if s in number and t in number}
        assert {(s, t) for t, of_vertex in enumerate(pruned.sources, 1) for s in of_vertex} == kept
        assert pruned.operations == tuple(cell[1][vertex - 1] for vertex in on_a_path[1:-1])
        assert pruned.pruned() == pruned
        assert (graph.n_vertices, graph.n_edges) == (n, len(cell[0]))


class TestFingerprint:
    @given(cells(), st.randoms(use_true_random=False))
    def test_renumbering_changes_nothing(self, drawn, rng):
        (edges, names), n = drawn
        # Any order that leads all edges upwards: vertices are taken as soon as those before them are.
        order, waiting = [0], list(range(1, n - 1))
        while waiting:
            ready = [v for v in waiting if all(s in order for s, t in edges if t == v)]
            order.append(rng.choice(ready))
            waiting.remove(order[-1])
        number = dict(zip((*order, n - 1), range(n), strict=True)) if n > 2 else {0: 0, 1: 1}
        renumbered = frozenset((number[s], number[t]) for s, t in edges)
        other = graph_of((renumbered, tuple(names[vertex - 1] for vertex in order[1:])), n)
        assert other.fingerprint(KNOWN) == graph_of((edges, names), n).fingerprint(KNOWN)

    @pytest.mark.parametrize("n_vertices", [2, 3, 4])
    def test_is_the_same_for_equal_cells_alone(self, n_vertices):
        groups: dict[tuple, set[str]] = {}
        for cell in pruned_cells(n_vertices, KNOWN):
            groups.setdefault(least_numbering(cell, n_vertices), set()).add(graph_of(cell, n_vertices).fingerprint(KNOWN))
        assert all(len(digests) == 1 for digests in groups.values())
        assert len(set.union(*groups.values())) == len(groups) == count_unique_cells(n_vertices, 99, len(KNOWN))

    def test_tells_all_cells_of_five_vertices_apart(self):
        different = {least_numbering(cell, 5): cell for cell in pruned_cells(5, KNOWN, 9)}
        assert len({graph_of(cell, 5).fingerprint(KNOWN) for cell in different.values()}) == len(different) == 2441

    def test_the_order_of_the_known_operations_matters(self):
        graph = CellGraph(("conv", "pool"), ((0,), (1,), (2,)))
        assert graph.fingerprint(KNOWN) != graph.fingerprint(KNOWN[::-1])
        assert len(graph.fingerprint(KNOWN)) == 32


class TestErrors:
    @pytest.mark.parametrize(
        ("operations", "sources", "message"),
        [
            (("conv",), ((0,),), "a cell with 1 operations needs the sources of 2 vertices, the output's included, and 1"),
            ((), ((1,),), r"vertex 1 of a cell has the sources \(1,\); give ascending ones from 0 to 0"),
            (("conv",), ((0,), (1, 0)), r"vertex 2 .*\(1, 0\)"),
            (("conv",), ((0,), (0, 0)), r"vertex 2 .*\(0, 0\)"),
            (("conv",), ((-1,), (0,)), r"vertex 1 .*\(-1,\)"),
        ],
    )
    def test_what_is_no_cell(self, operations, sources, message):
        with pytest.raises(ArchError, match=message):
            CellGraph(operations, sources)
