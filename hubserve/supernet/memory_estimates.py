"""Estimates the memory that training a network needs, and reads how much memory the machine or a GPU has."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm


def activation_bytes(network: nn.Module, x: torch.Tensor, run: Callable[[torch.Tensor], Any]) -> int:
    """Returns the number of bytes of the tensors other than parameters that autograd keeps for the backward pass of `run`.

    The pass runs on the meta device, so it takes no memory. A view of a parameter, such as the transpose that a linear layer
    keeps, takes none either.

    Args:
        network: A network on the meta device. It cannot be used afterwards: it is set to train mode and converted to the dtype
            of `x`, if that is a floating-point type, and the forward methods of its batch norms are replaced by products.
        x: A batch; only its shape and dtype are used.
        run: A forward pass through `network`; it is called with a batch on the meta device.
    """
    network.train()
    if x.is_floating_point():
        network.to(x.dtype)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            # It keeps its input, as a product does; on the meta device, a product takes a small part of the time of a norm.
            module.register_parameter("factor", nn.Parameter(torch.ones((), device="meta")))
            module.forward = partial(torch.mul, module.factor)  # type: ignore[method-assign,arg-type]
    parameters = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    seen: dict[int, int] = {}
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            seen[storage._cdata] = storage.nbytes()
            kept.append(tensor)  # Its address must not be used again while it is counted.
        return tensor

    with torch.device("meta"), saved_tensors_hooks(pack, lambda tensor: tensor):
        kept.append(run(torch.empty(x.shape, dtype=x.dtype)))
    return sum(seen.values())


def weight_bytes(module: nn.Module, *, copies: int) -> int:
    """Returns the number of bytes of the parameters of `module`, multiplied by `copies`.

    Training with Adam needs four copies: the weights, their gradients, and the two moving averages of Adam.
    """
    return copies * sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def machine_bytes(device: torch.device) -> tuple[int, int]:
    """Returns (free bytes, total bytes) of the memory of the GPU `device` or, for any other device, of the machine's memory.

    Where the system does not report the available memory (/proc/meminfo), the total is returned as free.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free, total
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    for line in meminfo.read_text().splitlines() if meminfo.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024, total
    return total, total
