"""`naswot`, the zero-cost score that compares for which images the same ReLUs of an untrained network are active."""

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hubserve.benchmarks.zero_cost.prepared_network import ALWAYS, finite, scoring
from hubserve.data.loaders import Batch
from hubserve.errors import UndefinedScoreError

aten = torch.ops.aten

RELU = (aten.relu, aten.relu_, aten.leaky_relu, aten.leaky_relu_, aten._prelu_kernel)
"""Operators of activations whose slope changes at 0 only."""

CLIP = (aten.hardtanh, aten.hardtanh_)
"""Operators that clip to an interval; one that begins at 0, as ReLU6 does, counts as ReLU."""


def naswot(network: nn.Module, batch: Batch, *, seed: int = 0) -> float:
    """Returns the logarithm of the determinant of the kernel of ReLU codes; larger is better.

    The code of an image has a bit for each ReLU: whether its input is above 0. The kernel of two images is the number of equal
    bits of their codes. Source: Mellor et al. 2021, "Neural Architecture Search without Training", section 3
    (https://arxiv.org/abs/2006.04647v3).

    What differs: ReLU6, LeakyReLU and PReLU count as ReLUs, so that spaces with these activations have a score. Other
    activations, such as Hardswish, are not counted: networks that have both are scored by their ReLUs alone. Eigenvalues of the
    kernel that are 0 up to rounding, as for images with equal codes, count as the rounding error, so that such a network has a
    low score where the paper's is minus infinity.

    Args:
        network: An untrained network; it is not changed.
        batch: Images (batch, channels, height, width), at least two, and targets, which are not used. The value grows with the
            number of images: compare archs on the same batch. The paper uses 128 images.
        seed: Seed of random numbers that the network may draw.

    Raises:
        UndefinedScoreError: The network has no ReLU, as transformers with GELU do not.
        EvaluatorError: The batch is not valid, or the network returns no tensor.
    """
    with scoring(network, batch, seed=seed) as scored, torch.no_grad():
        codes = _ReluCodes(len(scored.images))
        with codes:
            scored.logits(scored.images)
        if codes.units == 0:
            raise UndefinedScoreError(f"naswot is not defined for {scored.name}: it has no ReLU. {ALWAYS}")
        return finite("naswot", log_determinant(codes.kernel), network)


def log_determinant(kernel: torch.Tensor) -> torch.Tensor:
    """Returns the logarithm of the determinant of a positive semi-definite matrix (n, n) other than 0; see `naswot`."""
    eigenvalues = torch.linalg.eigvalsh(kernel.double().cpu())
    rounding = eigenvalues.max() * len(kernel) * torch.finfo(torch.float64).eps
    return eigenvalues.clamp(min=float(rounding)).log().sum()


class _ReluCodes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up, over all ReLUs that run in its block, the number of equal bits for each pair of images.

    Attributes:
        kernel: Number of equal bits (batch, batch) of the codes of two images, float64.
        units: Number of bits of a code.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernel = torch.zeros(batch_size, batch_size, dtype=torch.float64)
        self.units = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _is_relu(func, args) and args[0].dim() > 1 and len(args[0]) == len(self.kernel):
            self._add(args[0].flatten(1) > 0)
        return func(*args, **(kwargs or {}))

    def _add(self, active: torch.Tensor) -> None:
        bits = active.float()  # The products are sums of ones, and exact: a layer has fewer than 2^24 ReLUs.
        ones = bits.sum(1)
        equal = bits.shape[1] - ones[:, None] - ones[None, :] + 2 * (bits @ bits.T)
        self.kernel += equal.cpu()
        self.units += bits.shape[1]


def _is_relu(func: Any, args: Any) -> bool:
    packet = func.overloadpacket
    return packet in RELU or (packet in CLIP and len(args) > 1 and args[1] == 0)
