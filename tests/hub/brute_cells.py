"""NAS-Bench-101 cells one by one, the slow and plain way: for the tests of what counts and compares them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import networkx as nx

Edges = frozenset[tuple[int, int]]
Cell = tuple[Edges, tuple[str, ...]]
"""Edges from lower to higher vertices, and the operations of the inner vertices."""


def all_edges(n_vertices: int) -> Iterator[Edges]:
    """All graphs on that many vertices whose edges lead upwards."""
    possible = list(itertools.combinations(range(n_vertices), 2))
    for size in range(len(possible) + 1):
        yield from map(frozenset, itertools.combinations(possible, size))


def used(edges: Edges, n_vertices: int) -> set[int]:
    """The vertices on a path from first to last, by networkx."""
    graph = nx.DiGraph(list(edges))
    graph.add_nodes_from(range(n_vertices))
    last = n_vertices - 1
    if not nx.has_path(graph, 0, last):
        return set()
    return (nx.descendants(graph, 0) | {0}) & (nx.ancestors(graph, last) | {last})


def pruned_cells(n_vertices: int, operations: tuple[str, ...], most_edges: int = 99) -> Iterator[Cell]:
    """All labelled cells that pruning leaves as they are."""
    for edges in all_edges(n_vertices):
        if len(edges) <= most_edges and len(used(edges, n_vertices)) == n_vertices:
            for names in itertools.product(operations, repeat=n_vertices - 2):
                yield edges, names


def least_numbering(cell: Cell, n_vertices: int) -> tuple:
    """The same for all renumberings of the inner vertices, and for no other cell."""
    edges, names = cell
    ways = []
    for order in itertools.permutations(range(1, n_vertices - 1)):
        number = dict(zip((0, *order, n_vertices - 1), range(n_vertices), strict=True))
        ways.append((sorted((number[a], number[b]) for a, b in edges), [names[vertex - 1] for vertex in order]))
    return tuple(map(tuple, min(ways)))


def labelled(cell: Cell, n_vertices: int) -> nx.DiGraph:
    """For networkx to compare."""
    edges, names = cell
    graph = nx.DiGraph(list(edges))
    nx.set_node_attributes(graph, dict(enumerate(("input", *names, "output"))), "name")
    return graph
