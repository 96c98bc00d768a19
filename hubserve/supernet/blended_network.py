"""A network in which all candidates of the blended choices take part."""

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
from hubserve.supernet.supernet import Build, Subnet, Supernet
from hubserve.supernet.tensor_keys import AnswerTags, NetworkTensor, Wrapper, modules_by_key, network_tensors


@dataclass(frozen=True)
class BlendedNetwork:
    """The largest network of a space, with all candidates and masks of its tensors.

    Attributes:
        subnet: The network, on a supernet's memory.
        context: What its modules read during a pass.
        masks: The masks of its tensors.
    """

    subnet: Subnet
    context: BlendContext
    masks: tuple[MaskedAxes, ...]

    def run(self, x: Any, blends: Mapping[str, Blend], weights: Mapping[str, torch.Tensor] | None = None) -> Any:
        """The output for a batch `x`.

        Args:
            x: A batch, as the networks of the space take it.
            blends: Blends of the blended labels.
            weights: Key -> tensor to use in place of each leaf of `subnet`; None uses the leaves.
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
        self.context.blends, self.context.keeps = blends, keeps
        self.context.depth_sums.clear()
        paths = {tensor.path: tensors[tensor.key] for tensor in self.subnet.tensors if tensor.key in changed}
        network = self.subnet.network
        return torch.func.functional_call(network, paths, (x,)) if paths else network(x)


class BlendedNetworkBuilder:
    """Builds the blended networks of a supernet.

    Args:
        supernet: Its space is built, on its weights.

    Attributes:
        shapes: Shapes of the networks of the space, without the candidates of layer choices that an arch does not have.
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
        """The blended network on the supernet's memory.

        Args:
            plan: What is blended.
            answers: Answers to all labels; those that are blended are at their largest.
            layers: Whether layer choices and edges are blended; False answers them from `answers`.
            view: Makes a subnet of a function that builds a network; None is the supernet's `view`.
        """
        choices = [self._space.choices[label] for label in sorted(plan.values)]
        shapes = self._shapes_with_layers if layers and plan.layers else self.shapes
        masks = find_masks(shapes, answers, choices, everywhere=plan.masks_everywhere)
        context = BlendContext()
        masked = frozenset(each.key for each in masks)
        build = partial(self._build, plan, answers, context, masked, layers=layers)
        return BlendedNetwork((view or self._supernet.view)(build), context, tuple(masks))

    def single(self, answers: Mapping[str, Any]) -> nn.Module:
        """The network of `answers` on the supernet's memory, with nothing blended."""
        plan = BlendingPlan(dict(answers), layers=frozenset(), repeats=frozenset())
        return self._supernet.view(partial(self._build, plan, answers, BlendContext(), frozenset(), layers=False)).network

    def activation_bytes(self, plan: BlendingPlan, answers: Mapping[str, Any], x: torch.Tensor, held: dict[str, Blend]) -> int:
        """Bytes that a pass on batches like `x` keeps for its backward pass.

        The pass runs on the meta device.

        Args:
            plan: What is blended.
            answers: Answers to all labels; those that are blended are at their largest.
            x: A batch, of which only shape and dtype count.
            held: Blends of the blended labels, with weights on the meta device.
        """
        with torch.device("meta"):
            blended = self.build(plan, answers, view=_bare_subnet)
        return activation_bytes(blended.subnet.network, x, lambda batch: blended.run(batch, held))

    def _build(
        self, plan: BlendingPlan, answers: Mapping[str, Any], context: BlendContext, masked: frozenset[str], *, layers: bool
    ) -> tuple[nn.Module, list[NetworkTensor]]:
        """A network whose layers read `context`, and its tensors."""
        tags = AnswerTags()
        network = self._space.build(BlendingPicker(answers, tags, context, plan.repeats, layers=layers))
        _wrap_layers(network, tags, plan.optional, masked, context)
        return network, network_tensors(network, tags)


def _bare_subnet(build: Build) -> Subnet:
    """The network that `build` makes, with parameters of its own in place of windows of a supernet."""
    network, tensors = build()
    return Subnet(network, tuple(tensors))


def _wrap_layers(
    network: nn.Module, tags: AnswerTags, optional: Mapping[str, Presence], masked: frozenset[str], context: BlendContext
) -> None:
    """Wraps optional layers, and layer norms whose weights are masked, in place.

    No module of `network` writes into its input any more: other candidates read it, too.
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
