"""Draws archs into SVG, PNG or PDF files: a cell as a graph, a sequence of blocks as a row of bars.

Importing this module without the libraries of the extra `plots` raises MissingExtraError.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hubserve.atomic import staged_result
from hubserve.errors import MissingExtraError, OutputError
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.network_outline import BlockOutline, CellOutline, block_outlines

try:
    import matplotlib as mpl
    import networkx as nx
    from matplotlib.axes import Axes
    from matplotlib.bezier import BezierSegment
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch, Patch
except ImportError as missing:
    raise MissingExtraError(f"drawing needs {missing.name}: pip install 'hubserve[plots]'") from missing

ENDINGS = (".svg", ".png", ".pdf")
KERNEL_COLOURS = {0: "#d9d9d9", 1: "#bdbdbd", 3: "#9ecae1", 5: "#fdae6b", 7: "#e6550d"}
"""Kernel height of a block, 0 for a block without a kernel -> colour of its bar; other heights have the colour of 1."""


def draw(space: HubSpace, arch: Mapping[str, Any], path: Path, *, title: str) -> None:
    """Draws the network of `arch` into a file.

    If the space has cells, each cell is drawn as a graph; otherwise the blocks are drawn as bars, in the order of execution.

    Args:
        space: Model space of the arch.
        arch: Chosen value of each choice, by label.
        path: File to write; its ending, one of `ENDINGS`, decides the file format.
        title: Title of the drawing.

    Raises:
        ArchError: The arch does not belong to the space.
        OutputError: The file's ending is none of `ENDINGS`, or the file cannot be written; an old file is unchanged then.
    """
    if path.suffix.lower() not in ENDINGS:
        raise OutputError(f"cannot draw into {path}: its name must end in one of {', '.join(ENDINGS)}")
    cells = space.cells(arch)
    if cells:
        figure = _draw_cells(cells, title)
    else:
        figure = _draw_blocks(block_outlines(space.freeze(arch), space.cost_inputs()), title)
    # SVG files keep text as text, for search and screen readers, and have no date, so that equal drawings give equal files.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        try:
            with staged_result(path) as unfinished:
                figure.savefig(unfinished, metadata={"Date": None} if path.suffix.lower() == ".svg" else None, dpi=150)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _draw_cells(cells: Mapping[str, CellOutline], title: str) -> Figure:
    width = max(max(x for x, _ in _places(cell).values()) for cell in cells.values())
    heights = [max(y for _, y in _places(cell).values()) - min(y for _, y in _places(cell).values()) for cell in cells.values()]
    figure = Figure(figsize=(1.4 * width + 2.5, sum(1.2 * height + 1.6 for height in heights) + 0.6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(cells), 1, squeeze=False, height_ratios=[height + 1 for height in heights])[:, 0]
    for axis, (name, cell) in zip(axes, cells.items(), strict=True):
        axis.set_title(f"{name} cell", loc="left", fontsize=10)
        axis.set_axis_off()
        _draw_graph(axis, cell)
    return figure


def _draw_graph(axis: Axes, cell: CellOutline) -> None:
    places = _places(cell)
    for node, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": "#f0f4fa", "edgecolor": "#5b7aa6"}
        axis.text(x, y, cell.nodes[node], ha="center", va="center", fontsize=9, bbox=box, zorder=3)
    for place, (source, target, label) in enumerate(cell.edges):
        # Captions alternate between two positions along the edges, as those of crossing edges would overlap in the middle.
        share = 0.4 if place % 2 else 0.62
        _draw_edge(axis, places[source], places[target], label, bend=_bend(cell, place), share=share)
    xs, ys = zip(*places.values(), strict=True)
    axis.set_xlim(min(xs) - 0.6, max(xs) + 0.6)
    axis.set_ylim(min(ys) - 0.6, max(ys) + 0.6)


def _draw_edge(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], label: str, *, bend: float, share: float
) -> None:
    arrow = {
        "arrowstyle": "-|>",
        "connectionstyle": f"arc3,rad={bend}",
        "color": "#444444",
        "shrinkA": 16,
        "shrinkB": 20,
        "linewidth": 1.0,
    }
    axis.annotate("", xy=end, xytext=start, arrowprops=arrow, zorder=1)
    if label:
        x, y = _arc(start, end, bend)(share)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
        axis.text(x, y, label, ha="center", va="center", fontsize=7, color="#7a2e00", bbox=box, zorder=2)


def _arc(start: tuple[float, float], end: tuple[float, float], bend: float) -> BezierSegment:
    """Returns the Bezier curve that matplotlib draws with the connection style `arc3`.

    Its control point lies beside the middle of the edge, at a distance of `bend` times the length of the edge.
    """
    (x0, y0), (x1, y1) = start, end
    control = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
    return BezierSegment([start, control, end])


def _bend(cell: CellOutline, place: int) -> float:
    """Returns the `bend` of `_arc` for the edge with index `place`.

    Edges between the same two nodes get different values, and edges that pass other nodes are not straight (not 0).
    """
    source, target, _ = cell.edges[place]
    same = [i for i, (a, b, _) in enumerate(cell.edges) if (a, b) == (source, target)]
    generation = _generation(cell)
    passing = 0.18 if generation[target] - generation[source] > 1 else 0.0
    return passing + 0.25 * same.index(place)


def _generation(cell: CellOutline) -> dict[int, int]:
    """Returns, for each node, the number of edges on the longest path that leads to it."""
    graph = nx.DiGraph([(source, target) for source, target, _ in cell.edges])
    graph.add_nodes_from(range(len(cell.nodes)))
    return {node: depth for depth, nodes in enumerate(nx.topological_generations(graph)) for node in nodes}


def _places(cell: CellOutline) -> dict[int, tuple[float, float]]:
    """Returns the (x, y) of each node: one column for each generation, from left to right, with the output in the last one."""
    generation = _generation(cell)
    generation[len(cell.nodes) - 1] = max(generation.values())
    columns: dict[int, list[int]] = {}
    for node in range(len(cell.nodes)):
        columns.setdefault(generation[node], []).append(node)
    return {
        node: (1.6 * column, (len(nodes) - 1) / 2 * 1.3 - 1.3 * row + 0.35 * (column % 2))
        for column, nodes in columns.items()
        for row, node in enumerate(nodes)
    }


def _draw_blocks(chain: Sequence[BlockOutline], title: str) -> Figure:
    figure = Figure(figsize=(max(6.0, 0.52 * len(chain) + 1.5), 3.8), layout="constrained")
    axis = figure.subplots()
    top = max(block.shape[0] for block in chain)
    for place, block in enumerate(chain):
        _draw_bar(axis, place, block, top)
    axis.set_title(title, loc="left", fontsize=11)
    axis.set_xlim(-0.8, len(chain) - 0.2)
    axis.set_ylim(0, 1.42)
    axis.set_axis_off()
    kernels = sorted({block.kernel for block in chain if block.kernel})
    legend = [Patch(color=KERNEL_COLOURS.get(kernel, KERNEL_COLOURS[1]), label=f"{kernel} x {kernel}") for kernel in kernels]
    axis.legend(
        handles=legend, loc="upper right", ncols=len(legend), fontsize=7, frameon=False, title="kernel", title_fontsize=7
    )
    return figure


def _draw_bar(axis: Axes, place: int, block: BlockOutline, top: int) -> None:
    """Draws one block as a bar, with its kind and its number of channels in the bar and its output size below.

    The height of the bar grows with the square root of the channels; `top` is the largest number of channels of all blocks.
    """
    height = 0.25 + 0.75 * (block.shape[0] / top) ** 0.5
    bar = FancyBboxPatch(
        (place - 0.36, 0.18),
        0.72,
        height,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=KERNEL_COLOURS.get(block.kernel, KERNEL_COLOURS[1]),
        edgecolor="#08519c" if block.attention else "none",
        linewidth=1.4,
    )
    axis.add_patch(bar)
    words = f"{block.kind} {block.shape[0]}" + (" SE" if block.attention else "")
    axis.text(place, 0.21, words, rotation=90, ha="center", va="bottom", fontsize=6.5)
    size = f"{block.shape[1]}²" if len(block.shape) == 3 and block.shape[1] == block.shape[2] else ""
    axis.text(place, 0.13, size, ha="center", va="top", fontsize=6.5, color="#555555")
