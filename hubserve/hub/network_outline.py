"""Outlines of networks, from which drawings are made: a cell as a graph, a chain of blocks as a list."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from hubserve.blocks.mobile import SqueezeExcite


@dataclass(frozen=True)
class CellOutline:
    """A cell as a graph.

    Attributes:
        nodes: Caption of each node.
        edges: (source, target, caption) of each edge; source and target are indices of `nodes`, and source < target.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class BlockOutline:
    """One block of a network that is a chain of blocks.

    Attributes:
        name: Path of the block in the network.
        kind: Name of the block's class; for a plain Sequential, of its first layer with weights.
        kernel: Height of its largest convolution kernel; 0 without a convolution.
        shape: Shape of its output for one image: (channels, height, width), or fewer axes after pooling.
        params: Number of elements of its parameters.
        attention: Whether it has a squeeze-and-excite.
    """

    name: str
    kind: str
    kernel: int
    shape: tuple[int, ...]
    params: int
    attention: bool


def block_outlines(model: nn.Module, input_shape: tuple[int, ...]) -> list[BlockOutline]:
    """The blocks of `model`, in the order in which an image of `input_shape` passes them.

    `input_shape` is (channels, height, width). A copy of the network runs on the meta device, where nothing is computed.
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
        shadow(torch.empty(1, *input_shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return outlines


def _blocks(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Path and module of each block: the children of the model and of its plain containers.

    A container of single layers, such as convolution, norm and activation, is one block.
    """
    for name, child in model.named_children():
        path = f"{prefix}{name}"
        plain = type(child) in (nn.Sequential, nn.ModuleList)
        if plain and any(list(grandchild.children()) for grandchild in child.children()):
            yield from _blocks(child, f"{path}.")
        elif next(child.parameters(), None) is not None:
            yield path, child


def _outline(name: str, block: nn.Module, shape: tuple[int, ...]) -> BlockOutline:
    convolutions = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
    first = next((type(leaf).__name__ for leaf in block.modules() if leaf._parameters and not list(leaf.children())), "")
    return BlockOutline(
        name=name,
        kind=first if type(block) is nn.Sequential else type(block).__name__,
        kernel=max((int(convolution.kernel_size[0]) for convolution in convolutions), default=0),
        shape=shape,
        params=sum(parameter.numel() for parameter in block.parameters()),
        attention=any(isinstance(module, SqueezeExcite) for module in block.modules()),
    )
