"""Outlines of networks, from which drawings are made: `CellOutline` for a cell, `block_outlines` for a chain of blocks."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hubserve.blocks.mobile import SqueezeExcite


@dataclass(frozen=True)
class CellOutline:
    """The graph of a cell, from which a drawing is made.

    Attributes:
        nodes: Captions of the nodes.
        edges: (source, target, caption) of each edge. Source and target are indices into `nodes`, and source < target; the
            caption is "" for an edge without an operation.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]


def chain_outline(operations: Sequence[str], first: str = "input") -> CellOutline:
    """Returns the graph of layers that run one after another.

    Args:
        operations: Name of each layer, in their order.
        first: Caption of the node from which the first layer reads.
    """
    nodes = (first, *map(str, range(1, len(operations))), "output")
    return CellOutline(nodes, tuple((i, i + 1, name) for i, name in enumerate(operations)))


@dataclass(frozen=True)
class BlockOutline:
    """The name, size and other properties of a block of a network, from which a drawing is made.

    Attributes:
        name: Path of the block in the network, such as "blocks.1.0".
        kind: Name of the block's class. For an `nn.Sequential`, the name of the class of its first layer with parameters.
        kernel: Height, or length in one dimension, of the largest kernel of its convolutions; 0 if it has none.
        shape: Shape of its output for one image: (channels, height, width), or fewer axes after pooling.
        params: Total number of elements of its parameters.
        attention: Whether it contains a squeeze-and-excite.
    """

    name: str
    kind: str
    kernel: int
    shape: tuple[int, ...]
    params: int
    attention: bool


def block_outlines(model: nn.Module, inputs: Sequence[torch.Tensor]) -> list[BlockOutline]:
    """Returns the outlines of the blocks of `model`, in the order in which they run.

    A copy of the network runs on the meta device, so that shapes are known without computing values. A block that does not
    return a single tensor has no outline; a block that runs twice has two.

    Args:
        model: The network; it is not changed.
        inputs: Arguments of the network, of which only shapes and dtypes are used, such as `HubSpace.cost_inputs()`.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    outlines: list[BlockOutline] = []

    def note(name: str, block: nn.Module, output: object) -> None:
        if isinstance(output, torch.Tensor):
            outlines.append(_outline(name, block, tuple(output.shape[1:])))

    hooks = [
        block.register_forward_hook(lambda module, _, output, name=name: note(name, module, output))
        for name, block in _blocks(shadow)
    ]
    with torch.no_grad():
        shadow(*(each.to("meta") for each in inputs))
    for hook in hooks:
        hook.remove()
    return outlines


def _blocks(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yields (path in the network, module) for each block: each child of `model` that has parameters.

    An `nn.Sequential` or `nn.ModuleList` is replaced by its own blocks, but one that contains only layers without children,
    such as convolution, batch norm and activation, is a single block. `prefix` is put in front of all paths.
    """
    for name, child in model.named_children():
        path = f"{prefix}{name}"
        plain = type(child) in (nn.Sequential, nn.ModuleList)
        if plain and any(list(grandchild.children()) for grandchild in child.children()):
            yield from _blocks(child, f"{path}.")
        elif next(child.parameters(), None) is not None:
            yield path, child


def _outline(name: str, block: nn.Module, shape: tuple[int, ...]) -> BlockOutline:
    """Returns the outline of a block with the path `name` and the output shape `shape`, without the batch axis."""
    convolutions = [module for module in block.modules() if isinstance(module, nn.Conv1d | nn.Conv2d)]
    first = next((type(leaf).__name__ for leaf in block.modules() if leaf._parameters and not list(leaf.children())), "")
    return BlockOutline(
        name=name,
        kind=first if type(block) is nn.Sequential else type(block).__name__,
        kernel=max((int(convolution.kernel_size[0]) for convolution in convolutions), default=0),
        shape=shape,
        params=sum(parameter.numel() for parameter in block.parameters()),
        attention=any(isinstance(module, SqueezeExcite) for module in block.modules()),
    )
