"""`Blend`: the weights with which a choice's candidates are summed; `BlendContext`: holds them during a forward pass."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from hubserve.space import Choice

POOLINGS = (nn.AvgPool2d, nn.MaxPool2d)
"""Types of layers without weights and random numbers: two with the same settings give the same output for the same input."""


@dataclass(frozen=True)
class Blend:
    """The weights with which the outputs of one choice's candidates are summed in one forward pass.

    Attributes:
        weights: The weight of each of n candidates, shape (n,). Gradients flow back through it.
        held: Indices of the candidates that are computed. All others are skipped, whatever their weights are.
    """

    weights: torch.Tensor
    held: tuple[int, ...]

    @classmethod
    def all_of(cls, weights: torch.Tensor) -> Blend:
        """Returns the blend with these weights, in which all candidates are computed."""
        return cls(weights, tuple(range(len(weights))))

    @classmethod
    def only(cls, choice: Choice, answer: Any) -> Blend:
        """Returns the blend with all weight on `answer`: the output is that of the single network with this answer.

        The weight is 1 for one candidate, 1 / k for each of k inputs, and 1 for each input of an answer with any number of
        them. All other candidates have the weight 0 and are not computed.

        Raises:
            ValueError: `answer` is not a candidate of a choice of one candidate. (Lists of inputs are not checked.)
        """
        chosen = choice.indices(answer)
        return cls(choice.relaxation.certain(len(choice.candidates), chosen), tuple(chosen))


@dataclass
class BlendContext:
    """Values that the layers of a blended network read during a forward pass; `BlendedNetwork.run` sets them before each pass.

    Attributes:
        blends: Maps the label of each blended choice to its blend.
        keeps: Maps the key of each masked tensor (e.g. a layer norm's weight) to its expected mask, numbers in [0, 1].
        depth_sums: Maps the name of each repeat that is being run to the weighted sum of the outputs at the depths run so far.
    """

    blends: Mapping[str, Blend] = field(default_factory=dict)
    keeps: Mapping[str, torch.Tensor] = field(default_factory=dict)
    depth_sums: dict[str, Any] = field(default_factory=dict)
    _parts: dict[str, tuple[torch.Tensor, ...]] = field(default_factory=dict)
    _results: dict[tuple[int, int, type[nn.Module], str], tuple[torch.Tensor, torch.Tensor, int]] = field(default_factory=dict)

    def begin(self, blends: Mapping[str, Blend], keeps: Mapping[str, torch.Tensor]) -> None:
        """Starts a forward pass with these blends and expected masks."""
        self.end()
        self.blends, self.keeps = blends, keeps

    def end(self) -> None:
        """Drops the tensors that the layers computed for one another in a forward pass."""
        self.depth_sums.clear()
        self._parts.clear()
        self._results.clear()

    def parts(self, label: str) -> tuple[torch.Tensor, ...]:
        """Returns the weights of the blend of `label` as scalar tensors, one for each candidate."""
        if label not in self._parts:
            # One operation for all candidates and all layers with this label has one backward operation as well.
            self._parts[label] = self.blends[label].weights.unbind()
        return self._parts[label]

    def chosen(self, choice: Choice) -> tuple[torch.Tensor, ...]:
        """Returns, for each input of a choice of inputs, the factor of its layer's output in the sum, as scalar tensors.

        It is the weight of the input or, for a choice of k inputs, k times the weight.
        """
        name = f"{choice.label} chosen"
        if name not in self._parts:
            self._parts[name] = choice.expected_chosen(self.blends[choice.label].weights).unbind()
        return self._parts[name]

    def run(self, layer: nn.Module, *inputs: Any, **named: Any) -> Any:
        """Returns the output of a candidate layer; layers without weights that several candidates have are run once in a pass.

        In a blended cell, each edge that reads a state would pool it again, and so would each of its convolutions rectify it,
        with the same result. Run once are poolings, and the ReLU that a sequence begins with.
        """
        x = inputs[0] if len(inputs) == 1 and not named else None
        if not isinstance(x, torch.Tensor) or x.is_inference() or torch.is_inference_mode_enabled():
            return layer(*inputs, **named)
        # Hooks of a sequence see all of it.
        if type(layer) is nn.Sequential and len(layer) > 1 and type(layer[0]) is nn.ReLU and not _has_hooks(layer):
            x = self._run_once(layer[0], x)
            for each in itertools.islice(layer, 1, None):
                x = each(x)
            return x
        return self._run_once(layer, x) if type(layer) in POOLINGS else layer(x)

    def _run_once(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Returns the output of a layer without weights, which is that of an earlier one of its type and settings on `x`."""
        # A tensor that was changed in place has another version. `x` is kept, so that no other tensor gets its id in this pass.
        key = (id(x), x._version, type(layer), layer.extra_repr())
        _, result, version = self._results.get(key, (x, x, -1))
        if result._version != version:
            result = layer(x)
            self._results[key] = (x, result, result._version)
        return result


def _has_hooks(module: nn.Module) -> bool:
    """Returns whether anything is registered that is called when the module is."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))
