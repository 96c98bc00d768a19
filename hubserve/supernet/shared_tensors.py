"""`SharedTensors`, the tensors of a supernet, and windows, the parts of these tensors that a single network uses."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hubserve.errors import SupernetError
from hubserve.supernet.tensor_keys import NetworkTensor

Shape = tuple[int, ...]

NORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Names of the buffers of torch's norm layers, which networks share."""


def window(full: torch.Tensor, shape: Sequence[int], *, centred: bool = False) -> torch.Tensor:
    """Returns the view of `full` that a network uses whose own tensor has the shape `shape`.

    The view begins at index 0 of each axis; with `centred`, it is in the middle of the axes of a convolution's kernel.

    Args:
        full: A shared tensor, at least as large as `shape` along each axis.
        shape: Shape of the view; it has as many axes as `full`.
        centred: True takes the middle of the axes from the third on, which are those of a convolution's kernel.
    """
    for axis, size in enumerate(shape):
        spare = full.shape[axis] - size
        if spare:
            full = full.narrow(axis, spare // 2 if centred and axis >= 2 else 0, size)
    return full


def window_mask(full: int, size: int, *, centred: bool = False) -> torch.Tensor:
    """Returns a float32 tensor of shape (full,): 1 where a window of length `size` covers the axis, else 0.

    Args:
        full: Length of the axis.
        size: Length of the window, at most `full`.
        centred: True puts the window in the middle of the axis; False at its beginning.
    """
    mask = torch.zeros(full)
    window(mask.view(1, 1, full), (1, 1, size), centred=centred).fill_(1.0)
    return mask


def larger(a: Shape, tensor: NetworkTensor) -> Shape:
    """Returns the smallest shape that holds both the shape `a` and that of `tensor`, i.e. the maximum along each axis.

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
    """The parameters and norm statistics of a supernet by key, each in the largest size that a network needs.

    `load_state_dict` also accepts tensors whose shapes differ from the present ones, and tensors that are not present yet (of a
    supernet whose tensors have grown). They are put on the device of the present tensors.

    Attributes:
        centred: Keys of convolution kernels, whose windows are in the middle.
    """

    def __init__(self) -> None:
        super().__init__()
        self.centred: set[str] = set()

    def __contains__(self, key: object) -> bool:
        return key in self._parameters or key in self._buffers

    def __getitem__(self, key: str) -> torch.Tensor:
        return getattr(self, key)

    def parameter(self, key: str) -> nn.Parameter:
        """Returns the parameter with this key.

        Raises:
            KeyError: There is no such parameter (a buffer is none).
        """
        return self._parameters[key]  # type: ignore[return-value] # None is never registered here.

    def __iter__(self) -> Iterator[str]:
        """Yields the keys of the parameters, then those of the buffers."""
        yield from self._parameters
        yield from self._buffers

    def fits(self, tensor: NetworkTensor) -> bool:
        """Returns whether the shared tensor for `tensor` exists and is at least as large as `tensor` along each axis."""
        if tensor.key not in self or self[tensor.key].ndim != len(tensor.shape):
            return False
        return all(have >= need for have, need in zip(self[tensor.key].shape, tensor.shape, strict=True))

    def window_of(self, tensor: NetworkTensor) -> torch.Tensor:
        """Returns the window of the shared tensor that a network uses in place of `tensor`.

        Gradients flow back from the window to the whole shared tensor.
        """
        return window(self[tensor.key], tensor.shape, centred=tensor.centred)

    def allocate(self, tensor: NetworkTensor, shape: Shape) -> None:
        """Creates or enlarges the shared tensor for `tensor`.

        Present values are kept, in the window of their shape. Other elements get the values of `tensor`; elements that `tensor`
        does not cover either are drawn from a normal distribution with the mean and standard deviation of `tensor`.

        Args:
            tensor: Its key names the shared tensor, and its values fill the window of its shape.
            shape: The new shape; along each axis at least as large as `tensor` and the present tensor.
        """
        values, key = tensor.value.detach(), tensor.key
        full = _distributed_as(values, shape)
        if full.shape != values.shape:
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
        """Loads the tensors of `state_dict`: replaces those whose shape differs, and adds those that are not present."""
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
    """Returns a tensor of `shape` drawn from a normal distribution with the mean and standard deviation of `values`.

    If `values` has this shape, returns a copy. If its elements are equal, are not floats or are fewer than 2, fills with the
    first.
    """
    if tuple(values.shape) == tuple(shape):
        return values.clone()
    full = torch.empty(shape, dtype=values.dtype, device=values.device)
    if not values.is_floating_point() or values.numel() < 2:
        return full.fill_(values.flatten()[0].item() if values.numel() else 0)
    deviation, mean = torch.std_mean(values.float())
    return full.normal_(float(mean), float(deviation)) if deviation > 0 else full.fill_(float(mean))
