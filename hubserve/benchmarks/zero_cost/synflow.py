"""`synflow`, the zero-cost score that multiplies the weights along all paths of a network; it needs no images."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from hubserve.benchmarks.zero_cost.prepared_network import ALWAYS, finite, scoring
from hubserve.data.loaders import Batch
from hubserve.errors import UndefinedScoreError

aten = torch.ops.aten

LIKE_RELU = (nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SiLU, nn.Hardswish, nn.GELU, nn.Mish, nn.Softplus)
"""Activations that equal ReLU far from 0; they are replaced by it, since the score needs f(a * x) = a * f(x) for a > 0."""

UNDEFINED = {
    aten.native_layer_norm: "layer norm",
    aten.native_group_norm: "group norm",
    aten._softmax: "softmax",
    aten._safe_softmax: "softmax",
    aten.scaled_dot_product_attention: "attention",
    aten._scaled_dot_product_flash_attention_for_cpu: "attention",
    aten._scaled_dot_product_flash_attention: "attention",
    aten._scaled_dot_product_efficient_attention: "attention",
    aten._scaled_dot_product_cudnn_attention: "attention",
}
"""Operator for which the score is not defined, since it normalises its input -> its name in the error."""


def synflow(network: nn.Module, batch: Batch, *, seed: int = 0) -> float:
    """Returns the logarithm of the synaptic flow of a network; larger is better.

    With all parameters replaced by their absolute values and an image of ones, R is the sum of the logits. The flow is the sum
    over all weights of convolutions and linear layers of weight * (gradient of R). Source: Tanaka et al. 2020, "Pruning neural
    networks without any data by iteratively conserving synaptic flow", section 4 (https://arxiv.org/abs/2006.05467), summed
    over the network as by Abdelfattah et al. 2021, "Zero-Cost Proxies for Lightweight NAS", section 3.2
    (https://arxiv.org/abs/2101.08134), who remove the batch norms as this function does.

    What differs: the logarithm is returned, because the flow grows exponentially with depth; ranks stay the same. A flow of 0
    counts as the smallest normal number of 64 bits, which gives -708.4. Activations of `LIKE_RELU` are replaced by ReLU, which
    ReLU6 and Hardswish equal in a part of their range only; the sigmoids of squeeze-and-excite stay. It is computed in 64 bits,
    which the device must support.

    Args:
        network: An untrained network; it is not changed.
        batch: A batch whose images have the shape for which the network is scored, at least two; their values and the targets
            are not used.
        seed: Seed of random numbers that the network may draw.

    Raises:
        UndefinedScoreError: The network has attention, a softmax, a layer norm or a group norm, or no convolution and no linear
            layer.
        EvaluatorError: The batch is not valid, the network returns no tensor, or the flow overflows 64 bits.
    """
    with scoring(network, batch, seed=seed) as scored:
        weights = scored.weights("synflow")
        _make_linear(scored.network)
        scored.network.double()
        with torch.no_grad():
            for parameter in scored.network.parameters():
                parameter.abs_()
        image = torch.ones_like(scored.images[:1], dtype=torch.float64)
        with _RefusedOperators(scored.name):
            total = scored.logits(image).sum()
        gradients = torch.autograd.grad(total, weights, allow_unused=True)
        pairs = zip(weights, gradients, strict=True)
        sums = [(weight * gradient).sum().detach() for weight, gradient in pairs if gradient is not None]
        flow = torch.stack(sums).sum() if sums else torch.zeros((), dtype=torch.float64)
        return finite("synflow", flow.clamp(min=torch.finfo(torch.float64).tiny).log(), network)


def _make_linear(network: nn.Module) -> None:
    """Replaces batch norms by the identity and activations of `LIKE_RELU` by ReLU, in place."""
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if path and isinstance(module, _BatchNorm):
            network.set_submodule(path, nn.Identity())
        elif path and isinstance(module, LIKE_RELU):
            network.set_submodule(path, nn.ReLU())


class _RefusedOperators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises UndefinedScoreError when an operator of `UNDEFINED` runs in its block; `name` is that of the network."""

    def __init__(self, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = name

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = UNDEFINED.get(func.overloadpacket)
        if found is not None:
            raise UndefinedScoreError(f"synflow is not defined for {self._name}, which has {found}. {ALWAYS}")
        return func(*args, **(kwargs or {}))
