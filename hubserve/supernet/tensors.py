"""Tensors that networks of different sizes share, and their windows: the part of one that a network of a size sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from hubserve.errors import SupernetError
from hubserve.supernet.tensor_keys import Slot

Shape = tuple[int, ...]


def window(full: torch.Tensor, shape: Sequence[int], *, centred: bool = False) -> torch.Tensor:
    """The view of `full` that a network with a tensor of `shape` sees: the beginning of each axis.

    Args:
        full: a shared tensor, at least as large along each axis.
        shape: of the view.
        centred: take the middle of the axes from the third on, those of a convolution's kernel.
    """
    for axis, size in enumerate(shape):
        spare = full.shape[axis] - size
        if spare:
            full = full.narrow(axis, spare // 2 if centred and axis >= 2 else 0, size)
    return full


def window_mask(full: Sequence[int], shape: Sequence[int], axis: int, *, centred: bool = False) -> torch.Tensor:
    """1 where the window reaches along one axis, else 0: (full[axis],) float32."""
    start = (full[axis] - shape[axis]) // 2 if centred and axis >= 2 else 0
    mask = torch.zeros(full[axis])
    mask[start : start + shape[axis]] = 1.0
    return mask


class SharedTensors(nn.Module):
    """Parameters and norm statistics by key, each as large as the largest network needs it.

    Attributes:
        centred: keys of kernels, whose windows are in the middle.
    """

    def __init__(self) -> None:
        super().__init__()
        self.centred: set[str] = set()

    def __contains__(self, key: object) -> bool:
        return key in self._parameters or key in self._buffers

    def __getitem__(self, key: str) -> torch.Tensor:
        found = self._parameters.get(key)
        tensor = self._buffers[key] if found is None else found
        assert tensor is not None  # We put none in.
        return tensor

    def parameter(self, key: str) -> nn.Parameter:
        """The parameter of that key."""
        found = self._parameters[key]
        assert found is not None  # We put none in.
        return found

    def keys(self) -> Iterator[str]:
        """Of parameters, then of buffers."""
        yield from self._parameters
        yield from self._buffers

    def dump(self) -> dict[str, dict[str, torch.Tensor]]:
        """All tensors, as `restore` takes them."""
        return {
            "parameters": {key: tensor.detach() for key, tensor in self.named_parameters()},
            "buffers": dict(self.named_buffers()),
        }

    def restore(self, found: Mapping[str, Mapping[str, torch.Tensor]]) -> bool:
        """Takes the values that `dump` gave, to the device of the tensors that are here.

        Returns:
            Whether a tensor had to be replaced by one of another shape.
        """
        replaced, device = False, self._device
        for kind, tensors in found.items():
            for key, values in tensors.items():
                if key in self and self[key].shape == values.shape:
                    self[key].detach().copy_(values)
                    continue
                replaced = True
                if key in self:
                    delattr(self, key)
                own = values.detach().to(device, copy=True)
                if kind == "buffers":
                    self.register_buffer(key, own)
                else:
                    self.register_parameter(key, nn.Parameter(own, requires_grad=values.is_floating_point()))
        return replaced

    @property
    def _device(self) -> torch.device:
        first = next(self.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def has_room(self, slot: Slot) -> bool:
        """Whether the tensor of `slot` is there and large enough."""
        return slot.key in self and all(have >= want for have, want in zip(self[slot.key].shape, slot.shape, strict=True))

    def of(self, slot: Slot) -> torch.Tensor:
        """The window of the network that `slot` belongs to; a graph leads from it to the whole tensor."""
        return window(self[slot.key], slot.shape, centred=slot.centred)

    def put(self, slot: Slot, values: torch.Tensor, shape: Shape) -> None:
        """Makes room of `shape` for the tensor of `slot`, or more room; what was there stays where the windows have it.

        Args:
            slot: whose key it is.
            values: fresh ones for the window of their shape, in which what is new and not covered is like them: each number
                is drawn from N(their mean, their deviation), and equal numbers stay equal.
            shape: of the whole; at least that of `values` and of what is there, along each axis.
        """
        full = _like(values, shape)
        window(full, tuple(values.shape), centred=slot.centred).copy_(values)
        if slot.key in self:
            known = self[slot.key].detach()
            full = full.to(known.device, known.dtype)
            window(full, tuple(known.shape), centred=slot.centred).copy_(known)
            delattr(self, slot.key)
        else:
            full = full.to(self._device)
        if slot.centred:
            self.centred.add(slot.key)
        if slot.is_buffer:
            self.register_buffer(slot.key, full)
        else:
            self.register_parameter(slot.key, nn.Parameter(full, requires_grad=slot.tensor.requires_grad))


def larger(a: Shape, slot: Slot) -> Shape:
    """The smallest shape that holds `a` and the tensor of `slot`.

    Raises:
        SupernetError: they have different numbers of axes.
    """
    b = slot.shape
    if len(a) != len(b):
        raise SupernetError(
            f"weights of shape {a} and {b} fall together under {slot.key}: a choice that is asked with pick(...) makes "
            "layers of one type and place with different axes; ask it with pick.layer, whose candidates share nothing"
        )
    return tuple(map(max, a, b))


def _like(values: torch.Tensor, shape: Shape) -> torch.Tensor:
    """A tensor of `shape` with the distribution of `values`."""
    if tuple(values.shape) == tuple(shape):
        return values.detach().clone()
    full = torch.empty(shape, dtype=values.dtype, device=values.device)
    if not values.is_floating_point() or values.numel() < 2:
        return full.fill_(values.flatten()[0].item() if values.numel() else 0)
    deviation, mean = torch.std_mean(values.detach().float())
    return full.normal_(float(mean), float(deviation)) if deviation > 0 else full.fill_(float(mean))
