"""`start_residuals_at_zero`: initialises a supernet so that each residual block begins as the identity."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hubserve.blocks.mobile import MobileBlock
from hubserve.supernet.probe_archs import largest
from hubserve.supernet.supernet import Supernet


@torch.no_grad()
def start_residuals_at_zero(supernet: Supernet) -> int:
    """Sets the scale (gamma) of the last batch norm of each residual block to 0, so that the block passes on its input.

    The initialisation of BigNAS (Yu et al. 2020, https://arxiv.org/abs/2003.11142, section 3.1) and of AttentiveNAS and
    AlphaNet, which use its code: deep networks with shared weights do not diverge in the first steps. Residual blocks are
    `MobileBlock`s that add their input, those of MobileNetV3Space and ProxylessNAS; other networks stay as they are.

    Returns:
        The number of shared tensors that were set to 0.
    """
    started: set[str] = set()
    for arch in largest(supernet.space):
        subnet = supernet.subnet(arch)
        scales = {id(norm) for norm in map(_last_norm, subnet.network.modules()) if norm is not None}
        for tensor in subnet.tensors:
            if id(tensor.owner) in scales and tensor.name == "weight" and tensor.key not in started:
                supernet.tensors.parameter(tensor.key).zero_()
                started.add(tensor.key)
    return len(started)


def _last_norm(module: nn.Module) -> _BatchNorm | None:
    """Returns the last batch norm of a residual block; None for any other module, or if the block has none."""
    if not isinstance(module, MobileBlock) or not module.residual:
        return None
    norms = [layer for layer in module if isinstance(layer, _BatchNorm)]
    return norms[-1] if norms else None
