"""`BlendedNetwork`, a network that computes all candidates of the blended choices at once, and its builder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from hubserve.supernet.blend import Blend, BlendContext
from hubserve.supernet.blended_layers import KeptLayerNorm, OptionalLayer
from hubserve.supernet.blending_picker import BlendingPicker
from hubserve.supernet.blending_plan import BlendingPlan, Presence
from hubserve.supernet.masks import MaskedAxes, find_masks
from hubserve.supernet.memory_estimates import activation_bytes
from hubserve.supernet.network_shapes import NetworkShapesCache
from hubserve.supernet.paused_collection import paused_collection
from hubserve.supernet.supernet import Build, Subnet, Supernet
from hubserve.supernet.tensor_keys import AnswerTags, NetworkTensor, Wrapper, modules_by_key, network_tensors


@dataclass(frozen=True)
class BlendedNetwork:
    """The largest network of a space, with all candidates of the blended choices and with masks on its tensors.

    Attributes:
        subnet: The network, whose parameters are windows of a supernet's tensors.
        context: Holds the values that the network's layers read during a forward pass.
        masks: The masks by which tensors of the network are multiplied in each forward pass.
    """

    subnet: Subnet
    context: BlendContext
    masks: tuple[MaskedAxes, ...]

    def run(self, x: Any, blends: Mapping[str, Blend], weights: Mapping[str, torch.Tensor] | None = None) -> Any:
        """Runs the network on a batch and returns its output.

        Args:
            x: A batch of inputs in the format that the networks of the space accept.
            blends: Maps the label of each blended choice to its blend.
            weights: Maps the key of each leaf of `subnet` to the tensor to use in its place; None uses the leaves.

        Raises:
            SupernetError: Outputs that are summed have different shapes.
        """
        tensors = dict(self.subnet.leaves if weights is None else weights)
        changed = set() if weights is None else set(tensors)
        keeps: dict[str, torch.Tensor] = {}
        by_mask: dict[int, torch.Tensor] = {}
        for masked in self.masks:
            tensor, mask = tensors[masked.key], masked.mask
            if id(mask) not in by_mask:
                # Weights of candidates stay on the CPU, where answers are drawn; the network may be on a GPU.
                by_mask[id(mask)] = mask.keep(blends).to(tensor.device)
            keep = by_mask[id(mask)]
            tensors[masked.key] = masked.apply(tensor, keep)
            keeps.setdefault(masked.key, keep)
            changed.add(masked.key)
        paths = {tensor.path: tensors[tensor.key] for tensor in self.subnet.tensors if tensor.key in changed}
        network = self.subnet.network
        self.context.begin(blends, keeps)
        try:
            return torch.func.functional_call(network, paths, (x,)) if paths else network(x)
        finally:
            self.context.end()


class BlendedNetworkBuilder:
    """Builds the blended networks of a supernet.

    Args:
        supernet: The supernet whose space is built and whose tensors the networks use.

    Attributes:
        shapes: The shapes of the space's networks, each with only the layers that its arch chooses in layer choices and edges.
    """

    def __init__(self, supernet: Supernet) -> None:
        self._supernet = supernet
        self._space = supernet.space
        self.shapes = NetworkShapesCache(self._space, layers=False)
        self._shapes_with_layers = NetworkShapesCache(self._space, layers=True)

    def build(
        self,
        plan: BlendingPlan,
        answers: Mapping[str, Any],
        *,
        layers: bool = True,
        view: Callable[[Build], Subnet] | None = None,
    ) -> BlendedNetwork:
        """Returns the blended network, whose parameters are windows of the supernet's tensors.

        Args:
            plan: Says which choices are blended, and how.
            answers: Answers to all labels; blended labels have the answer that gives the largest network.
            layers: True blends layer choices and edges; False answers them from `answers`.
            view: Makes a subnet from a function that builds a network; None uses `Supernet.view`.
        """
        choices = [self._space.choices[label] for label in sorted(plan.values)]
        shapes = self._shapes_with_layers if layers and plan.layers else self.shapes
        masks = find_masks(shapes, answers, choices, everywhere=plan.masks_everywhere)
        context = BlendContext()
        masked = frozenset(each.key for each in masks)
        build = partial(self._build, plan, answers, context, masked, layers=layers)
        with paused_collection():
            return BlendedNetwork((view or self._supernet.view)(build), context, tuple(masks))

    def single(self, answers: Mapping[str, Any]) -> nn.Module:
        """Returns the network of `answers` (to all labels) on the supernet's tensors, with nothing blended."""
        plan = BlendingPlan(dict(answers), layers=frozenset(), repeats=frozenset())
        return self._supernet.view(partial(self._build, plan, answers, BlendContext(), frozenset(), layers=False)).network

    def in_double_precision(self) -> BlendedNetworkBuilder:
        """Returns a builder of the same networks on a copy of the supernet's tensors in double precision."""
        builder = copy.copy(self)
        builder._supernet = copy.deepcopy(self._supernet).double()
        return builder

    def activation_bytes(self, plan: BlendingPlan, answers: Mapping[str, Any], x: Any, held: dict[str, Blend]) -> int:
        """Returns the number of bytes that autograd keeps for the backward pass on a batch like `x`.

        The pass runs on the meta device, so it takes no memory.

        Args:
            plan: Says which choices are blended, and how.
            answers: Answers to all labels; blended labels have the answer that gives the largest network.
            x: A batch of inputs; only the shapes and dtypes of its tensors are used.
            held: Maps the label of each blended choice to its blend, with weights on the meta device.
        """
        with torch.device("meta"):
            blended = self.build(plan, answers, view=_bare_subnet)
        return activation_bytes(blended.subnet.network, x, lambda batch: blended.run(batch, held))

    def _build(
        self, plan: BlendingPlan, answers: Mapping[str, Any], context: BlendContext, masked: frozenset[str], *, layers: bool
    ) -> tuple[nn.Module, list[NetworkTensor]]:
        """Builds a network whose blended layers read `context`; returns it with a list of its tensors."""
        tags = AnswerTags()
        network = self._space.build(BlendingPicker(answers, tags, context, plan.repeats, layers=layers))
        _wrap_layers(network, tags, plan.optional, masked, context)
        return network, network_tensors(network, tags)


def _bare_subnet(build: Build) -> Subnet:
    """Returns the network that `build` makes as a `Subnet` with its own parameters rather than a supernet's."""
    network, tensors = build()
    return Subnet(network, tuple(tensors))


def _wrap_layers(
    network: nn.Module, tags: AnswerTags, optional: Mapping[str, Presence], masked: frozenset[str], context: BlendContext
) -> None:
    """Wraps the optional layers of `network`, and its layer norms whose weights are masked; changes `network` in place.

    Also switches off the in-place mode of all modules (e.g. of `nn.ReLU`), since several candidates read the same input.
    """
    keys = {id(module): key for key, module in modules_by_key(network, tags).items()}
    for parent in list(network.modules()):
        if getattr(parent, "inplace", False):
            parent.inplace = False  # type: ignore[assignment]
        for name, child in list(parent._modules.items()):
            if child is None or isinstance(parent, KeptLayerNorm):
                continue
            key = keys.get(id(child), "")
            if isinstance(child, nn.LayerNorm) and len(child.normalized_shape) == 1 and f"{key}/weight" in masked:
                parent._modules[name] = KeptLayerNorm(f"{key}/weight", child, context)
            for label, presence in optional.items():
                if key in presence and isinstance(parent, (nn.Sequential, Wrapper)):
                    parent._modules[name] = OptionalLayer(label, presence[key], parent._modules[name], context)  # type: ignore[arg-type]
