"""One optimizer for all networks of a supernet, whose steps touch only the network that was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from hubserve.supernet.tensors import SharedTensors, window


class SharedOptimizer:
    """Steps a torch optimizer of shared tensors on the windows of one network, windows of its state included.

    A step costs what it costs the bare network: nothing of full size is read or written. What the network does not see stays
    as it is, momentum and weight decay too. Works for optimizers that treat each number of a tensor on its own (SGD, Adam and
    its kin, RMSprop, Adagrad, ...), whose fresh state is 0.

    Args:
        tensors: of a supernet.
        optimizer: of its parameters, in one group or in several. A learning rate schedule may hold on to it.

    Attributes:
        optimizer: the same; its state is that of the full tensors whenever no step is under way.
    """

    def __init__(self, tensors: SharedTensors, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._tensors = tensors
        keys = {id(parameter): key for key, parameter in tensors.named_parameters()}
        self._groups = {
            keys[id(parameter)]: i for i, group in enumerate(optimizer.param_groups) for parameter in group["params"]
        }
        self._known = dict(tensors.named_parameters())

    def step(self, leaves: Mapping[str, nn.Parameter]) -> None:
        """One step on those of `leaves` (key -> leaf of a network) that have a gradient, which is then dropped."""
        ready = {key: leaf for key, leaf in leaves.items() if leaf.grad is not None}
        self._follow_growth(ready)
        whole = [group["params"] for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            group["params"] = []
        for key, leaf in ready.items():
            self.optimizer.param_groups[self._groups[key]]["params"].append(leaf)
            self._lend_state(self._known[key], leaf, key)
        self.optimizer.step()
        for key, leaf in ready.items():
            self._return_state(self._known[key], leaf, key)
            leaf.grad = None
        for group, parameters in zip(self.optimizer.param_groups, whole, strict=True):
            group["params"] = parameters

    def dump(self) -> dict[str, Any]:
        """The state of each tensor by key, and the settings of the groups; no copies."""
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        state = {key: dict(self.optimizer.state[full]) for key, full in self._known.items() if full in self.optimizer.state}
        return {"groups": settings, "state": state}

    def restore(self, found: Mapping[str, Any]) -> None:
        """Takes what `dump` gave; the tensors themselves must have been restored before."""
        self._follow_growth(key for key, _ in self._tensors.named_parameters())
        for group, settings in zip(self.optimizer.param_groups, found["groups"], strict=True):
            group.update(settings)
        for key, state in found["state"].items():
            full = self._known[key]
            self.optimizer.state[full] = {name: _moved(value, full) for name, value in state.items()}

    def _lend_state(self, full: nn.Parameter, leaf: nn.Parameter, key: str) -> None:
        if leaf is full or full not in self.optimizer.state:
            return
        state = self.optimizer.state[full]
        self.optimizer.state[leaf] = {
            name: self._window(value, leaf, key) if _is_like(value, full) else value for name, value in state.items()
        }

    def _return_state(self, full: nn.Parameter, leaf: nn.Parameter, key: str) -> None:
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

    def _follow_growth(self, keys: Iterable[str]) -> None:
        """Parameters that were replaced by larger ones, or are new since the last step, take their places here."""
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
    """Whether an entry of an optimizer's state has a number for each number of `tensor`; a count of steps has not."""
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape == tensor.shape


def _moved(value: Any, parameter: torch.Tensor) -> Any:
    """To where the parameter is; counts of steps stay on the CPU, where optimizers have them."""
    return value.to(parameter.device) if isinstance(value, torch.Tensor) and value.dim() > 0 else value
