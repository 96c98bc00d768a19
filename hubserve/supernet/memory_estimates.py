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

from hubserve.data.nested_batches import leaves, map_leaves
from hubserve.supernet.quick_meta import QuickMetaOperations


def activation_bytes(network: nn.Module, x: Any, run: Callable[[Any], Any]) -> int:
    """Returns the number of bytes of the tensors other than parameters that autograd keeps for the backward pass of `run`.

    The pass runs on the meta device, so it takes no memory. A view of a parameter, such as the transpose that a linear layer
    keeps, takes none either.

    Args:
        network: A network on the meta device. It cannot be used afterwards: it is set to train mode and converted to the dtype
            of the first floating-point tensor of `x`, and the forward methods of its batch norms are replaced by products.
        x: A batch of inputs, a tensor or lists, tuples and dicts of tensors; only shapes and dtypes are used.
        run: A forward pass through `network`; it is called with a batch on the meta device.
    """
    network.train()
    dtype = next((leaf.dtype for leaf in leaves(x) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()), None)
    if dtype is not None and any(p.dtype != dtype for p in network.parameters() if p.is_floating_point()):
        network.to(dtype)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            # It keeps its input, as a product does; on the meta device, a product takes a small part of the time of a norm.
            module.register_parameter("factor", nn.Parameter(torch.ones((), device="meta")))
            module.forward = partial(torch.mul, module.factor)  # type: ignore[method-assign,arg-type]
    parameters = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    seen: dict[int, int] = {}
    kept: list[Any] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            seen[storage._cdata] = storage.nbytes()
            kept.append(tensor)  # Its address must not be used again while it is counted.
        return tensor

    with torch.device("meta"), QuickMetaOperations(), saved_tensors_hooks(pack, lambda tensor: tensor):
        kept.append(run(map_leaves(_empty, x)))
    return sum(seen.values())


def _empty(leaf: Any) -> Any:
    return torch.empty(leaf.shape, dtype=leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf


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
