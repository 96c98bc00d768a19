"""`FittedNetworks`: networks cut from a trained one, with blocks that are fitted to its features on some images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hubserve.blocks.mobile import MobileBlock
from hubserve.supernet.block_fit import block_error, fit_block, in_chunks
from hubserve.supernet.elastic_supernet import ElasticSupernet

FIRST_WEIGHT = 0.25
"""Weight of the error of the first block when networks are scored; that of the last block is 1 (docs/decisions/0051)."""


@dataclass(frozen=True)
class _CutBlock:
    """A block of a smaller network beside the blocks of the trained network.

    Attributes:
        name: Name of the block, in both networks.
        block: The block itself.
        whole: The block of that name in the trained network.
        target: Name of the block of the trained network whose output it should compute.
    """

    name: str
    block: MobileBlock
    whole: MobileBlock
    target: str

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Shapes of the tensors of the block."""
        return _shapes(self.block)

    @property
    def is_unchanged(self) -> bool:
        """Whether it can keep the weights of the trained network's block."""
        return self.target == self.name and self.shapes == _shapes(self.whole)


class FittedNetworks:
    """Cuts networks from a trained one and fits their blocks to its features, without a step of training.

    In a stage with fewer blocks, the last one is fitted to the output of the whole stage.

    Args:
        supernet: Supernet whose largest network is the trained one. Layers outside of the blocks come from it.
        images: Prepared images on which blocks are fitted, (n, 3, height, width) float32, on the CPU as the supernet. The maps
            that are kept of them take about as many bytes as the outputs of all blocks in float16.

    Attributes:
        images: The images.
    """

    def __init__(self, supernet: ElasticSupernet, images: Tensor) -> None:
        self._supernet = supernet
        self.images = images
        # The supernet too: it gives its cached largest network, which is this one, its own mode whenever it is asked for it.
        self._whole = whole = supernet.eval().network
        self._blocks = _blocks_of(whole)
        self._last = _last_of_stages(whole)
        self._inputs, self._outputs = _maps(whole, self._blocks, images)
        self._errors: dict[tuple[Any, ...], float] = {}

    @torch.no_grad()
    def error(self, arch: Mapping[str, Any]) -> float:
        """Returns the weighted sum of the errors of the blocks of a network, each fitted to the inputs of the trained network.

        The error of a block is the mean square of what it cannot compute, as a share of the variance of what it should. Its
        weight rises from `FIRST_WEIGHT` for the first block of the trained network to 1 for the last: what an early block
        cannot compute, the blocks fitted after it partly make up for. That such errors add up well enough to rank networks is
        an observation of DONNA (Moons et al. 2021, section 3.3), which trains each block, and finds the weights by a regression
        on fine-tuned networks.

        Raises:
            ArchError: `arch` is not in the space of the supernet.
        """
        with torch.device("meta"):
            network = self._supernet.space.freeze(arch)
        return sum(self._weight(cut.target) * self._error(cut) for cut in self._cut_blocks(network))

    @torch.no_grad()
    def network(self, arch: Mapping[str, Any], images: Iterable[Tensor] | None = None) -> nn.Module:
        """Returns a new network of `arch` with fitted blocks, in eval mode.

        Blocks are fitted in order, each on the inputs that it gets from the blocks before it, so that it makes up for their
        errors. Blocks before the first one that is smaller keep the weights of the trained network.

        Args:
            arch: Chosen values by label.
            images: Batches of other images to fit the blocks to, such as more of them; None takes `images` of the object.
                The maps of one block are kept in memory at a time.

        Raises:
            ArchError: `arch` is not in the space of the supernet.
        """
        network = self._supernet.extract(arch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        cuts = list(dropwhile(lambda cut: cut.is_unchanged, self._cut_blocks(network)))
        if not cuts:
            return network
        first = cuts[0].name
        given, targets = _inputs_of(first, (network, self._whole), in_chunks(self.images) if images is None else images)
        names = list(self._blocks)
        of_targets = names.index(first)
        for cut in cuts:
            of_next = names.index(cut.target) + 1
            for name in names[of_targets:of_next]:
                targets = _run(self._blocks[name], targets)
            of_targets = of_next
            fit_block(cut.whole, cut.block, given, targets[:, : _c_out(cut.block)])
            given = _run(cut.block, given)
        return network

    def _cut_blocks(self, network: nn.Module) -> list[_CutBlock]:
        last = _last_of_stages(network)
        return [
            _CutBlock(name, block, self._blocks[name], self._last[stage] if last.get(stage := _stage(name)) == name else name)
            for name, block in _blocks_of(network).items()
        ]

    def _weight(self, name: str) -> float:
        """Returns the weight, from `FIRST_WEIGHT` to 1, of the error of a block's outputs, by the block's place."""
        place = list(self._blocks).index(name) / max(1, len(self._blocks) - 1)
        return FIRST_WEIGHT + (1 - FIRST_WEIGHT) * place

    def _error(self, cut: _CutBlock) -> float:
        if cut.is_unchanged:
            return 0.0
        key = (cut.name, cut.target, cut.shapes)
        if key not in self._errors:
            inputs, outputs = self._inputs[cut.name], self._outputs[cut.target]
            block = cut.block.to_empty(device="cpu")
            self._errors[key] = block_error(cut.whole, block, inputs[:, : _c_in(block)], outputs[:, : _c_out(block)])
        return self._errors[key]


@torch.no_grad()
def _maps(network: nn.Module, blocks: Mapping[str, MobileBlock], images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the inputs and the outputs of all blocks on `images`, in float16, by the name of the block."""
    found: dict[str, list[Tensor]] = {name: [] for name in ("", *blocks)}
    first = next(iter(blocks.values()))
    hooks = [first.register_forward_pre_hook(lambda _, given: found[""].append(given[0].half()))]
    hooks += [
        block.register_forward_hook(lambda _, given, output, name=name: found[name].append(output.half()))
        for name, block in blocks.items()
    ]
    for chunk in in_chunks(images):
        network(chunk)
    for hook in hooks:
        hook.remove()
    outputs = {name: torch.cat(maps) for name, maps in found.items()}
    return {name: outputs[before] for before, name in pairwise(outputs)}, outputs


def _inputs_of(name: str, networks: Sequence[nn.Module], images: Iterable[Tensor]) -> list[Tensor]:
    """Returns, for each network, the inputs of its block called `name` for all images, in float16."""
    found: list[list[Tensor]] = [[] for _ in networks]
    hooks = [
        network.get_submodule(name).register_forward_pre_hook(lambda _, given, inputs=inputs: inputs.append(given[0].half()))
        for network, inputs in zip(networks, found, strict=True)
    ]
    for chunk in images:
        for network in networks:
            network(chunk.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    return [torch.cat(inputs) for inputs in found]


def _run(block: MobileBlock, inputs: Tensor) -> Tensor:
    """Returns the outputs of a block, in float16 as its inputs."""
    return torch.cat([block(chunk.float()).half() for chunk in in_chunks(inputs)])


def _blocks_of(network: nn.Module) -> dict[str, MobileBlock]:
    """Returns the inverted residuals of a network by name, in the order in which images pass through them."""
    return {name: module for name, module in network.named_modules() if isinstance(module, MobileBlock)}


def _last_of_stages(network: nn.Module) -> dict[str, str]:
    """Returns the name of the last block of each stage, by the name of the stage, a module whose children are all blocks."""
    blocks = _blocks_of(network)
    stages = {_stage(name) for name in blocks}
    children = {name: [f"{name}.{key}" for key, _ in network.get_submodule(name).named_children()] for name in stages}
    return {name: inner[-1] for name, inner in children.items() if all(child in blocks for child in inner)}


def _stage(name: str) -> str:
    return name.rpartition(".")[0]


def _shapes(block: nn.Module) -> tuple[torch.Size, ...]:
    return tuple(tensor.shape for tensor in block.state_dict().values())


def _c_in(block: MobileBlock) -> int:
    """Returns the number of channels of the inputs of a block."""
    return next(layer.in_channels for layer in block if isinstance(layer, nn.Conv2d))


def _c_out(block: MobileBlock) -> int:
    """Returns the number of channels of the outputs of a block."""
    return next(layer.out_channels for layer in reversed(block) if isinstance(layer, nn.Conv2d))
