"""What there is to see of a network: its cells as graphs, and its blocks in a row."""

from __future__ import annotations

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
        nodes: what to write on each.
        edges: (from, to, what to write on it); from is smaller than to.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class BlockOutline:
    """One block of a chain.

    Attributes:
        name: its path in the network.
        kind: its class.
        kernel: height of its largest convolution kernel; 0 without one.
        shape: of its output for one picture: (channels, height, width), or shorter after pooling.
        params: elements of its parameters.
        attention: whether it has a squeeze-and-excite.
    """

    name: str
    kind: str
    kernel: int
    shape: tuple[int, ...]
    params: int
    attention: bool


def block_outlines(model: nn.Module, input_shape: tuple[int, ...]) -> list[BlockOutline]:
    """The blocks that a picture of `input_shape` (channels, height, width) passes, in order; computes nothing."""
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
    """What lies in the model itself and in its plain containers; containers of convolutions alone are a block."""
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
