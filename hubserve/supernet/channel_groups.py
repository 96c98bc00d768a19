"""`sort_channels`: reorders the channels of a network by importance without changing what it computes."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from hubserve.errors import SupernetError
from hubserve.training.finetuning.split_network import trace

SAME_CHANNELS = {"mean", "contiguous", "relu", torch.relu, torch.flatten, "flatten"}
"""Methods and functions whose output has the channels of their input, apart from `flatten` of maps with several pixels."""

COMBINED = {operator.add, operator.iadd, operator.mul, operator.imul, torch.add, torch.mul}
"""Functions of two inputs with the same channels, or a number."""


@dataclass
class ChannelGroup:
    """Channels that must be permuted together: an axis of several tensors.

    Attributes:
        axes: (name of a tensor of the network's state dict, axis) for each of them.
        readers: Names of the weights that multiply these channels along axis 1.
        scales: Names of the weights of the batch norms that give the channels their last scale; several where the outputs of
            several norms are added.
        fixed: True for channels that must keep their order: the image, the logits, and those of unknown operations.
    """

    axes: list[tuple[str, int]] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    scales: list[str] = field(default_factory=list)
    fixed: bool = False


def channel_groups(model: nn.Module) -> list[ChannelGroup]:
    """Returns the groups of channels of a convolutional network, except those that must keep their order or that nothing reads.

    Raises:
        SupernetError: The network cannot be traced by torch.fx.
    """
    graph = trace(model)
    if graph is None:
        raise SupernetError(f"{type(model).__name__} cannot be traced, so its channels cannot be sorted")
    return [group for group in _Grouping(model).groups(graph) if not group.fixed and group.readers]


@torch.no_grad()
def sort_channels(model: nn.Module) -> None:
    """Permutes the channels of a convolutional network so that the most important ones come first; its outputs stay the same.

    Each of the `channel_groups` is sorted by `importance`; other channels keep their order. Weights and statistics are changed
    in place.

    Raises:
        SupernetError: The network cannot be traced by torch.fx.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for group in channel_groups(model):
        order = importance(group, tensors).argsort(descending=True, stable=True)
        for name, axis in group.axes:
            tensor = tensors[name]
            tensor.copy_(tensor.index_select(axis, order))


def importance(group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
    """Returns the importance of each channel of a group, (channels,).

    It is the L1 norm of the weights that read the channel (Cai et al. 2020, "Once-for-All", https://arxiv.org/abs/1908.09791),
    times the scale that batch norms give it (of several norms, the root of the sum of the squared scales). Without this factor,
    networks that were cut from EfficientNet-Lite0 were worse; docs/decisions/0037 has the figures.

    Args:
        group: The channels.
        tensors: Tensors of the network by name.
    """
    norm = torch.stack([tensors[name].abs().transpose(0, 1).flatten(1).sum(1) for name in group.readers]).sum(0)
    if group.scales:
        norm = norm * torch.stack([tensors[name].square() for name in group.scales]).sum(0).sqrt()
    return norm


class _Grouping:
    """Groups the channels of the values of a traced network, with a union-find structure over groups."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._groups: list[ChannelGroup] = []
        self._joined: dict[int, int] = {}
        self._of: dict[fx.Node, int] = {}

    def groups(self, graph: fx.Graph) -> list[ChannelGroup]:
        for node in graph.nodes:
            self._visit(node)
        return [group for number, group in enumerate(self._groups) if number not in self._joined]

    def _visit(self, node: fx.Node) -> None:
        inputs = [self._root(self._of[used]) for used in node.all_input_nodes if used in self._of]
        if node.op == "call_module" and len(inputs) == 1:
            self._of[node] = self._module(str(node.target), inputs[0])
        elif node.op in ("call_method", "call_function") and node.target in SAME_CHANNELS and len(inputs) == 1:
            self._of[node] = inputs[0]
        elif node.op == "call_function" and node.target in COMBINED and inputs:
            self._of[node] = self._join(inputs)
        else:  # The image, the logits, or an unknown operation.
            for number in inputs:
                self._groups[number].fixed = True
            self._of[node] = self._new(fixed=True)

    def _module(self, path: str, of_input: int) -> int:
        """Returns the group of the output of the module at `path`, and notes its tensors."""
        module = self._model.get_submodule(path)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and getattr(module, "groups", 1) == 1:
            of_output = self._new()
            self._note(of_output, path, module, ("weight", "bias"))
            self._groups[of_input].axes.append((f"{path}.weight", 1))
            self._groups[of_input].readers.append(f"{path}.weight")
            return of_output
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels:
            self._note(of_input, path, module, ("weight", "bias"))
        elif isinstance(module, nn.BatchNorm2d):
            self._note(of_input, path, module, ("weight", "bias", "running_mean", "running_var"))
            self._groups[of_input].scales = [f"{path}.weight"] if module.affine else []
        elif next(module.parameters(), None) is not None:
            self._groups[of_input].fixed = True
            return self._new(fixed=True)
        return of_input

    def _note(self, number: int, path: str, module: nn.Module, names: tuple[str, ...]) -> None:
        found = (name for name in names if getattr(module, name, None) is not None)
        self._groups[number].axes.extend((f"{path}.{name}", 0) for name in found)

    def _new(self, *, fixed: bool = False) -> int:
        self._groups.append(ChannelGroup(fixed=fixed))
        return len(self._groups) - 1

    def _join(self, numbers: list[int]) -> int:
        first, *others = dict.fromkeys(numbers)
        for number in others:
            group, joined = self._groups[first], self._groups[number]
            group.axes += joined.axes
            group.readers += joined.readers
            group.scales += joined.scales
            group.fixed |= joined.fixed
            self._joined[number] = first
        return first

    def _root(self, number: int) -> int:
        while number in self._joined:
            number = self._joined[number]
        return number
