"""`SharedOptimizer`, one optimizer for all networks of a supernet."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from hubserve.supernet.shared_tensors import SharedTensors, window


class SharedOptimizer:
    """Updates, in each step, only those parts of a supernet's tensors that one of its networks (subnets) uses.

    Such a part is called a window. The optimizer's state (momenta, ...) is restricted to the same window, so a step costs as
    much as for the subnet alone. Values outside the windows stay unchanged; neither momentum nor weight decay changes them.
    Works for optimizers that update each element of a tensor independently (SGD, Adam, AdamW, RMSprop, Adagrad, ...) and whose
    initial state is 0.

    Args:
        tensors: The shared tensors of a supernet.
        optimizer: A torch optimizer of their parameters, in one parameter group or several. A learning rate scheduler may be
            used on it.

    Attributes:
        optimizer: The torch optimizer that was passed. Between steps, its state is that of the full tensors.
    """

    def __init__(self, tensors: SharedTensors, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._tensors = tensors
        keys = {id(parameter): key for key, parameter in tensors.named_parameters()}
        self._groups = {keys[id(each)]: i for i, group in enumerate(optimizer.param_groups) for each in group["params"]}
        self._known = dict(tensors.named_parameters())

    def step(self, leaves: Mapping[str, nn.Parameter], take: Callable[[torch.optim.Optimizer], None] | None = None) -> None:
        """Performs one optimizer step on the `leaves` that have a gradient, and sets their gradients to None.

        Args:
            leaves: Maps keys to the parameters of a subnet (`Subnet.leaves`), or to shared tensors themselves.
            take: Takes the step; it is called with the optimizer, whose parameters are these leaves. None calls its `step`.
        """
        ready = {key: leaf for key, leaf in leaves.items() if leaf.grad is not None}
        self._replace_grown(ready)
        whole = [group["params"] for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            group["params"] = []
        for key, leaf in ready.items():
            self.optimizer.param_groups[self._groups[key]]["params"].append(leaf)
            self._copy_state_to(self._known[key], leaf, key)
        if take is None:
            self.optimizer.step()
        else:
            take(self.optimizer)
        for key, leaf in ready.items():
            self._copy_state_back(self._known[key], leaf, key)
            leaf.grad = None
        for group, parameters in zip(self.optimizer.param_groups, whole, strict=True):
            group["params"] = parameters

    def state_dict(self) -> dict[str, Any]:
        """Returns {"groups": settings of each parameter group, "state": optimizer state of each tensor by its key}.

        The tensors in it are not copied: later steps change them.
        """
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        state = {key: dict(self.optimizer.state[full]) for key, full in self._known.items() if full in self.optimizer.state}
        return {"groups": settings, "state": state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a state returned by `state_dict`. Load the shared tensors first."""
        self._replace_grown(key for key, _ in self._tensors.named_parameters())
        for group, settings in zip(self.optimizer.param_groups, state_dict["groups"], strict=True):
            group.update(settings)
        for key, state in state_dict["state"].items():
            full = self._known[key]
            self.optimizer.state[full] = {name: _on_device(value, full) for name, value in state.items()}

    def _copy_state_to(self, full: nn.Parameter, leaf: nn.Parameter, key: str) -> None:
        if leaf is full or full not in self.optimizer.state:
            return
        state = self.optimizer.state[full]
        self.optimizer.state[leaf] = {
            name: self._window(value, leaf, key) if _is_like(value, full) else value for name, value in state.items()
        }

    def _copy_state_back(self, full: nn.Parameter, leaf: nn.Parameter, key: str) -> None:
        if leaf is full:
            return
        state = self.optimizer.state[full]
        for name, value in self.optimizer.state.pop(leaf, {}).items():
            if not _is_like(value, leaf):
                state[name] = value
                continue
            if name not in state:
                state[name] = torch.zeros(full.shape, dtype=value.dtype, device=value.device)
            own = self._window(state[name], leaf, key)
            if own.data_ptr() != value.data_ptr():
                own.copy_(value)

    def _window(self, full: torch.Tensor, leaf: torch.Tensor, key: str) -> torch.Tensor:
        return window(full, leaf.shape, centred=key in self._tensors.centred)

    def _replace_grown(self, keys: Iterable[str]) -> None:
        """Registers with the optimizer those parameters of `keys` that were added or enlarged since the last step."""
        for key in keys:
            parameter, old = self._tensors.parameter(key), self._known.get(key)
            if old is parameter:
                continue
            self._known[key] = parameter
            if old is None:
                self._groups[key] = 0
                self.optimizer.param_groups[0]["params"].append(parameter)
                continue
            group = self.optimizer.param_groups[self._groups[key]]
            group["params"] = [parameter if each is old else each for each in group["params"]]
            for name, value in self.optimizer.state.pop(old, {}).items():
                if _is_like(value, old):
                    grown = torch.zeros(parameter.shape, dtype=value.dtype, device=value.device)
                    self._window(grown, old, key).copy_(value)
                    value = grown
                self.optimizer.state[parameter][name] = value


def _is_like(value: Any, tensor: torch.Tensor) -> bool:
    """Returns whether `value`, an entry of an optimizer's state, is a tensor of the shape of `tensor` (a step count is not)."""
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape == tensor.shape


def _on_device(value: Any, parameter: torch.Tensor) -> Any:
    """Returns `value` moved to the device of `parameter`.

    Scalars, such as step counts, stay on the CPU, where torch's optimizers keep them.
    """
    return value.to(parameter.device) if isinstance(value, torch.Tensor) and value.dim() > 0 else value
