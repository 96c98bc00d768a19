"""Shared tensors, and windows: the part of a shared tensor that one network uses."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hubserve.errors import SupernetError
from hubserve.supernet.tensor_keys import NetworkTensor

Shape = tuple[int, ...]

NORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Names of the buffers that are shared, as torch's norms have them."""


def window(full: torch.Tensor, shape: Sequence[int], *, centred: bool = False) -> torch.Tensor:
    """The view of `full` that a network with a tensor of `shape` uses.

    It begins at index 0 of each axis; with `centred`, it is the middle of the axes of a kernel.

    Args:
        full: A shared tensor, at least as large as `shape` along each axis.
        shape: Shape of the view; it has as many axes as `full`.
        centred: Whether the view is in the middle of the axes from the third on, those of a convolution's kernel.
    """
    for axis, size in enumerate(shape):
        spare = full.shape[axis] - size
        if spare:
            full = full.narrow(axis, spare // 2 if centred and axis >= 2 else 0, size)
    return full


def window_mask(full: int, size: int, *, centred: bool = False) -> torch.Tensor:
    """1 where a window of length `size` covers an axis of length `full`, else 0.

    The shape is (full,), the type float32.
    """
    mask = torch.zeros(full)
    window(mask.view(1, 1, full), (1, 1, size), centred=centred).fill_(1.0)
    return mask


def larger(a: Shape, tensor: NetworkTensor) -> Shape:
    """The smallest shape that holds both `a` and `tensor`.

    Raises:
        SupernetError: They have different numbers of axes.
    """
    b = tensor.shape
    if len(a) != len(b):
        raise SupernetError(
            f"weights of shape {a} and {b} fall together under {tensor.key}: a choice that is asked with pick(...) makes "
            "layers of one type and place with different axes; ask it with pick.layer, whose candidates share nothing"
        )
    return tuple(map(max, a, b))


class SharedTensors(nn.Module):
    """Parameters and norm statistics by key, each as large as the largest network needs it.

    `load_state_dict` also takes tensors of other shapes than those that are here, and tensors that are not here yet: those of
    a supernet that has grown since. They are put on the device of the tensors that are here.

    Attributes:
        centred: Keys of kernels, whose windows are in the middle.
    """

    def __init__(self) -> None:
        super().__init__()
        self.centred: set[str] = set()

    def __contains__(self, key: object) -> bool:
        return key in self._parameters or key in self._buffers

    def __getitem__(self, key: str) -> torch.Tensor:
        return getattr(self, key)

    def parameter(self, key: str) -> nn.Parameter:
        """The parameter of that key; a KeyError where it is a buffer or is not there."""
        return self._parameters[key]  # type: ignore[return-value] # None is never registered here.

    def __iter__(self) -> Iterator[str]:
        """Keys of the parameters, then of the buffers."""
        yield from self._parameters
        yield from self._buffers

    def fits(self, tensor: NetworkTensor) -> bool:
        """Whether the shared tensor of `tensor` is there, and at least as large along each axis."""
        key = tensor.key
        return key in self and all(have >= need for have, need in zip(self[key].shape, tensor.shape, strict=True))

    def window_of(self, tensor: NetworkTensor) -> torch.Tensor:
        """The window that a network uses in place of `tensor`.

        Gradients go back from it to the whole shared tensor.
        """
        return window(self[tensor.key], tensor.shape, centred=tensor.centred)

    def allocate(self, tensor: NetworkTensor, shape: Shape) -> None:
        """Makes the shared tensor of `tensor`, or enlarges it.

        Values that were there before keep their place in the window of their shape.

        Places that are new and that `tensor` does not cover are drawn from N(m, s), with the mean m and the standard deviation
        s of `tensor`; where its values are all equal, so are the new ones.

        Args:
            tensor: Its key names the shared tensor, and its fresh values fill the window of its shape.
            shape: The new shape; at least that of `tensor` and of what is there, along each axis.
        """
        values, key = tensor.value.detach(), tensor.key
        full = _distributed_as(values, shape)
        window(full, tuple(values.shape), centred=tensor.centred).copy_(values)
        if key in self:
            known = self[key].detach()
            full = full.to(known.device, known.dtype)
            window(full, tuple(known.shape), centred=tensor.centred).copy_(known)
        else:
            full = full.to(self._device)
        if tensor.centred:
            self.centred.add(key)
        self._register(key, full, is_buffer=tensor.is_buffer, requires_grad=tensor.value.requires_grad)

    def _register(self, key: str, values: torch.Tensor, *, is_buffer: bool, requires_grad: bool) -> None:
        if key in self:
            delattr(self, key)
        if is_buffer:
            self.register_buffer(key, values)
        else:
            self.register_parameter(key, nn.Parameter(values, requires_grad=requires_grad))

    @property
    def _device(self) -> torch.device:
        first = next(self.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, metadata: Any, strict: bool, missing_keys: list[str], *others: Any
    ) -> None:
        """Replaces tensors of another shape, and adds those that are not here."""
        device = self._device
        for name, values in state_dict.items():
            if not name.startswith(prefix):
                continue
            key = name.removeprefix(prefix)
            if key in self and self[key].shape == values.shape:
                self[key].detach().copy_(values)
            else:
                is_buffer = key.rpartition("/")[2] in NORM_STATISTICS
                own = values.detach().to(device, copy=True)
                self._register(key, own, is_buffer=is_buffer, requires_grad=values.is_floating_point())
        missing_keys += [f"{prefix}{key}" for key in self if f"{prefix}{key}" not in state_dict]


def _distributed_as(values: torch.Tensor, shape: Shape) -> torch.Tensor:
    """A tensor of `shape` drawn from N(mean, standard deviation) of `values`.

    Where they have that shape, a copy of them.
    """
    if tuple(values.shape) == tuple(shape):
        return values.clone()
    full = torch.empty(shape, dtype=values.dtype, device=values.device)
    if not values.is_floating_point() or values.numel() < 2:
        return full.fill_(values.flatten()[0].item() if values.numel() else 0)
    deviation, mean = torch.std_mean(values.float())
    return full.normal_(float(mean), float(deviation)) if deviation > 0 else full.fill_(float(mean))
