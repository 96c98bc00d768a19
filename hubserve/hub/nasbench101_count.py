"""Counts the cells of a NAS-Bench-101 space exactly without listing them: `count_graphs` and `count_unique_cells`."""

import itertools
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from math import comb

import numpy as np
import numpy.typing as npt

Masks = npt.NDArray[np.int64]
"""An array of graphs. Each is an integer in which bit `_bit(a, b)` is 1 if there is an edge from vertex a to vertex b > a."""


def count_graphs(n_vertices: int, max_edges: int) -> int:
    """Returns the number of graphs with `n_vertices` vertices, at most `max_edges` edges and a path from first to last vertex.

    Each edge leads from a vertex to one with a larger number; isomorphic graphs count separately. The vertices are added one
    after the other. For this, graphs are counted by (number of vertices that are reached from the first, number of edges),
    since a new vertex is reached if and only if there is an edge to it from a reached vertex.
    """
    ways = Counter({(1, 0): 1})
    for vertex in range(1, n_vertices - 1):
        longer: Counter[tuple[int, int]] = Counter()
        for (reached, edges), count in ways.items():
            for added in range(min(vertex, max_edges - edges) + 1):
                from_unreached = comb(vertex - reached, added)
                longer[reached, edges + added] += count * from_unreached
                longer[reached + 1, edges + added] += count * (comb(vertex, added) - from_unreached)
        ways = longer
    last = n_vertices - 1
    return sum(
        count * (comb(last, added) - comb(last - reached, added))
        for (reached, edges), count in ways.items()
        for added in range(min(last, max_edges - edges) + 1)
    )


def count_unique_cells(n_vertices: int, max_edges: int, n_operations: int) -> int:
    """Returns the number of cells without unused vertices, where isomorphic cells count once. It takes 0.05 s for 7 vertices.

    By Burnside's lemma, a graph has S / A different labellings with operations. Here A is the number of its automorphisms, and
    S the sum over them of `n_operations` ** (number of cycles of the automorphism on the inner vertices). The list of all
    graphs contains R / A graphs that are isomorphic to it, where R is the number of renumberings of its inner vertices for
    which each edge leads to a larger number. Therefore each graph in the list counts S / R.

    Args:
        n_vertices: Number of vertices of the cells, input and output included; at least 2.
        max_edges: Largest number of edges.
        n_operations: Number of operations, of which each inner vertex has one.
    """
    graphs = _used_graphs(n_vertices, max_edges)
    labellings, numberings = np.zeros_like(graphs), np.zeros_like(graphs)
    for order in itertools.permutations(range(1, n_vertices - 1)):
        renumbered, upwards = _renumber(graphs, (0, *order, n_vertices - 1))
        numberings += upwards
        labellings += (upwards & (renumbered == graphs)) * n_operations ** _cycles(order)
    total = sum(Fraction(int(labellings[numberings == n].sum()), int(n)) for n in np.unique(numberings))
    return int(total)


def _used_graphs(n_vertices: int, max_edges: int) -> Masks:
    """Returns all graphs without unused vertices, that is, with each vertex on a path from the first to the last.

    These are the graphs with an edge to each vertex but the first, and an edge from each vertex but the last.
    """
    graphs, edges = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for vertex in range(1, n_vertices):
        feeds = np.arange(1, 1 << vertex)
        graphs = (graphs[:, None] | (feeds << _bit(0, vertex))).ravel()
        edges = (edges[:, None] + np.bitwise_count(feeds)).ravel()
        # There must be at least one edge to each of the following vertices.
        within = edges <= max_edges - (n_vertices - 1 - vertex)
        graphs, edges = graphs[within], edges[within]
    for vertex in range(n_vertices - 1):
        out = sum(1 << _bit(vertex, target) for target in range(vertex + 1, n_vertices))
        graphs = graphs[(graphs & out) != 0]
    return graphs


def _renumber(graphs: Masks, order: Sequence[int]) -> tuple[Masks, npt.NDArray[np.bool_]]:
    """Renumbers vertex v of each graph to `order[v]`.

    Returns:
        The renumbered graphs, and for each of them True if all its edges lead to a vertex with a larger number. If this is
        False, the renumbered graph lacks the other edges.
    """
    renumbered, downwards = np.zeros_like(graphs), np.zeros_like(graphs)
    for source, target in itertools.combinations(range(len(order)), 2):
        edge = graphs >> _bit(source, target) & 1
        if order[source] < order[target]:
            renumbered |= edge << _bit(order[source], order[target])
        else:
            downwards |= edge
    return renumbered, downwards == 0


def _bit(source: int, target: int) -> int:
    """Returns the number of the bit that encodes the edge from `source` to `target`; `source` < `target`."""
    return target * (target - 1) // 2 + source


def _cycles(order: Sequence[int]) -> int:
    """Returns the number of cycles of the permutation that maps inner vertex v, counted from 1, to `order[v - 1]`."""
    waiting, cycles = set(order), 0
    while waiting:
        cycles += 1
        vertex = next(iter(waiting))
        while vertex in waiting:
            waiting.remove(vertex)
            vertex = order[vertex - 1]
    return cycles
