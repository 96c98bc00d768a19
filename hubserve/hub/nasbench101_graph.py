"""`CellGraph`: a NAS-Bench-101 cell as a graph, which can be pruned and has a fingerprint that isomorphic cells share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hubserve.errors import ArchError


@dataclass(frozen=True)
class CellGraph:
    """A cell as a directed acyclic graph: vertex 0 is the input, the last vertex the output, and the others have operations.

    Attributes:
        operations: Names of the operations of the inner vertices, from vertex 1 on.
        sources: For each vertex from 1 on, the numbers of the vertices with an edge to it, in ascending order; all are smaller
            than its own number.

    Raises:
        ArchError: `sources` does not have one entry more than `operations`, or an entry is not ascending, or has a number that
            is below 0 or not smaller than its vertex.
    """

    operations: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.operations) + 1 != len(self.sources):
            raise ArchError(
                f"a cell with {len(self.operations)} operations needs the sources of {len(self.operations) + 1} vertices, "
                f"the output's included, and {len(self.sources)} are given"
            )
        for vertex, sources in enumerate(self.sources, 1):
            if list(sources) != sorted(set(sources)) or (sources and not 0 <= sources[0] <= sources[-1] < vertex):
                raise ArchError(
                    f"vertex {vertex} of a cell has the sources {sources}; give ascending ones from 0 to {vertex - 1}"
                )

    @property
    def n_vertices(self) -> int:
        """Number of vertices, input and output included."""
        return len(self.sources) + 1

    @property
    def n_edges(self) -> int:
        """Number of edges, including those that `pruned` removes."""
        return sum(map(len, self.sources))

    @cached_property
    def used(self) -> tuple[int, ...]:
        """The numbers of the vertices on a path from the input to the output, ascending; empty if there is no such path."""
        reached, needed = {0}, {self.n_vertices - 1}
        for vertex, sources in enumerate(self.sources, 1):
            if not reached.isdisjoint(sources):
                reached.add(vertex)
        for vertex in range(self.n_vertices - 1, 0, -1):
            if vertex in needed:
                needed.update(self.sources[vertex - 1])
        return tuple(sorted(reached & needed))

    def pruned(self) -> CellGraph:
        """Returns a copy without the vertices that are on no path from input to output; the others keep their order.

        Raises:
            ArchError: No path leads from the input to the output.
        """
        if not self.used:
            raise ArchError("no path leads from the input of the cell to its output, so nothing of it is used")
        number = {vertex: i for i, vertex in enumerate(self.used)}
        return CellGraph(
            operations=tuple(self.operations[vertex - 1] for vertex in self.used[1:-1]),
            sources=tuple(tuple(number[s] for s in self.sources[v - 1] if s in number) for v in self.used[1:]),
        )

    def fingerprint(self, known: Sequence[str]) -> str:
        """Returns a hexadecimal digest that does not depend on the order of the inner vertices: isomorphic cells share it.

        Call it on a pruned cell, since unused vertices change the digest. It is the iterative graph invariant of Ying 2019
        (https://arxiv.org/abs/1902.06192) with which NAS-Bench-101 removed duplicates (https://arxiv.org/abs/1902.09635,
        section 2.2); with the operations of that benchmark, in its order, the digest is the key in its public table. In
        general, graphs that are not isomorphic may share the digest, but the 423,624 cells of that benchmark have different
        ones.

        Args:
            known: The possible operations. A vertex is labelled with the index of its operation in this sequence.

        Raises:
            ValueError: An operation of the cell is not in `known`.
        """
        sources = ((), *self.sources)
        targets = [[target for target, read in enumerate(sources) if vertex in read] for vertex in range(self.n_vertices)]
        labels = [-1, *(known.index(operation) for operation in self.operations), -2]
        digests = [_md5(f"({len(targets[v])}, {len(sources[v])}, {labels[v]})") for v in range(self.n_vertices)]
        for _ in range(self.n_vertices):
            digests = [
                _md5(f"{_joined(digests, sources[v])}|{_joined(digests, targets[v])}|{digests[v]}")
                for v in range(self.n_vertices)
            ]
        return _md5(str(sorted(digests)))


def _joined(digests: Sequence[str], vertices: Sequence[int]) -> str:
    """Returns the digests of the given vertices, sorted and concatenated."""
    return "".join(sorted(digests[vertex] for vertex in vertices))


def _md5(text: str) -> str:
    """Returns the MD5 digest of `text` in hexadecimal."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
