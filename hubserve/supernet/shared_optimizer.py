"""One optimizer for all networks of a supernet, which steps on windows."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from hubserve.supernet.shared_tensors import SharedTensors, window


class SharedOptimizer:
    """Steps a torch optimizer of shared tensors on the windows of one network.

    The optimizer's state (momenta, ...) is used by windows, too. A step costs what it costs the bare network: no tensor of full
    size is read or written. What lies outside the windows stays as it is; neither momentum nor weight decay moves it. Works
    for optimizers that treat each number of a tensor on its own (SGD, Adam, AdamW, RMSprop, Adagrad, ...) and whose fresh state
    is 0.

    Args:
        tensors: The shared tensors of a supernet.
        optimizer: A torch optimizer of their parameters, in one group or in several. A learning rate schedule may be built on
            it.

    Attributes:
        optimizer: The same optimizer. Between steps, its state is that of the full tensors.
    """

    def __init__(self, tensors: SharedTensors, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._tensors = tensors
        keys = {id(parameter): key for key, parameter in tensors.named_parameters()}
        self._groups = {keys[id(each)]: i for i, group in enumerate(optimizer.param_groups) for each in group["params"]}
        self._known = dict(tensors.named_parameters())

    def step(self, leaves: Mapping[str, nn.Parameter]) -> None:
        """One step on those of `leaves` that have a gradient, which is dropped afterwards.

        Args:
            leaves: Key -> parameter of a subnet, as `Subnet.leaves` returns them.
        """
        ready = {key: leaf for key, leaf in leaves.items() if leaf.grad is not None}
        self._replace_grown(ready)
        whole = [group["params"] for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            group["params"] = []
        for key, leaf in ready.items():
            self.optimizer.param_groups[self._groups[key]]["params"].append(leaf)
            self._copy_state_to(self._known[key], leaf, key)
        self.optimizer.step()
        for key, leaf in ready.items():
            self._copy_state_back(self._known[key], leaf, key)
            leaf.grad = None
        for group, parameters in zip(self.optimizer.param_groups, whole, strict=True):
            group["params"] = parameters

    def state_dict(self) -> dict[str, Any]:
        """The settings of each group ("groups") and the state of each tensor by key ("state").

        Nothing is copied.
        """
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        state = {key: dict(self.optimizer.state[full]) for key, full in self._known.items() if full in self.optimizer.state}
        return {"groups": settings, "state": state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the state that `state_dict` returned; the shared tensors must have been loaded before."""
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
        """Registers parameters that were added or enlarged since the last step with the optimizer."""
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
    """Whether `value`, an entry of an optimizer's state, has the shape of `tensor`.

    A count of steps does not.
    """
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape == tensor.shape


def _on_device(value: Any, parameter: torch.Tensor) -> Any:
    """`value` on the device of `parameter`.

    Counts of steps (0 axes) stay on the CPU, where optimizers keep them.
    """
    return value.to(parameter.device) if isinstance(value, torch.Tensor) and value.dim() > 0 else value
