"""Counts of NAS-Bench-101 cells: against brute force where that ends, and against the published number."""

from __future__ import annotations

import networkx as nx
import pytest

from hubserve.hub.nasbench101_count import count_graphs, count_unique_cells
from tests.hub.brute_cells import all_edges, labelled, least_numbering, pruned_cells, used

OPERATIONS = ("a", "b", "c")


@pytest.mark.parametrize("n_vertices", [2, 3, 4, 5])
def test_graphs_with_a_path(n_vertices):
    sizes = [len(edges) for edges in all_edges(n_vertices) if used(edges, n_vertices)]
    for most in range(1, n_vertices * (n_vertices - 1) // 2 + 2):
        assert count_graphs(n_vertices, most) == sum(size <= most for size in sizes)


def test_cells_up_to_isomorphism_as_networkx_sees_it():
    """Every pair of labelled cells that have the same number of edges and the same operations."""
    different: dict[tuple, list[nx.DiGraph]] = {}
    same = nx.algorithms.isomorphism.categorical_node_match("name", "")
    for cell in pruned_cells(4, OPERATIONS):
        graph, alike = labelled(cell, 4), different.setdefault((len(cell[0]), *sorted(cell[1])), [])
        if not any(nx.is_isomorphic(graph, other, node_match=same) for other in alike):
            alike.append(graph)
    assert count_unique_cells(4, 9, 3) == sum(map(len, different.values())) == 84


@pytest.mark.parametrize(
    ("n_vertices", "n_operations", "most"), [(2, 3, 9), (3, 3, 9), (4, 3, 4), (5, 2, 9), (5, 3, 7), (5, 1, 6)]
)
def test_cells_up_to_renumbering(n_vertices, n_operations, most):
    cells = pruned_cells(n_vertices, OPERATIONS[:n_operations], most)
    assert count_unique_cells(n_vertices, most, n_operations) == len({least_numbering(cell, n_vertices) for cell in cells})


def test_the_benchmark_s_cells_by_size():
    """Ying et al. 2019, section 2.2: 423,624 in all."""
    by_size = [count_unique_cells(n, 9, 3) for n in range(2, 8)]
    assert by_size == [1, 6, 84, 2441, 62010, 359082]
    assert sum(by_size) == 423_624


def test_no_room_for_a_path():
    assert count_unique_cells(5, 3, 3) == 0
    assert count_graphs(2, 1) == 1
