"""`with_new_head` and `with_old_head`: build a network with the weights of a trained one, for other or for the same classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hubserve.errors import KeyFormatError
from hubserve.hub.hub_space import HubSpace


@dataclass(frozen=True)
class NewHead:
    """A network whose layers come from a trained network, except for its head where that is new.

    Attributes:
        space: The space of the trained network with `num_labels` set to the number of the new classes.
        model: The network, in eval mode. The weights of a new head are 0, so that all classes have the same probability.
        head: Names of the tensors of the new head, main and auxiliary; empty if the head is that of the trained network.
    """

    space: HubSpace
    model: nn.Module
    head: tuple[str, ...]


def with_old_head(space: HubSpace, arch: Mapping[str, Any], state: Mapping[str, Tensor]) -> NewHead:
    """Builds the network of `arch` with all weights of `state`, those of its head included, so that no head is new.

    The arguments and the errors ArchError and KeyFormatError are those of `with_new_head`; the classes are those of `space`.
    """
    _check(_shapes(space, arch), state)
    model = space.freeze(arch).eval()
    model.load_state_dict(dict(state), strict=True)
    return NewHead(space, model, ())


def with_new_head(space: HubSpace, arch: Mapping[str, Any], state: Mapping[str, Tensor], *, classes: int) -> NewHead:
    """Builds the network of `arch` for `classes` classes and loads everything but the head from `state`.

    The head consists of the tensors whose shape depends on `num_labels`, those of auxiliary heads included.

    Args:
        space: Space of the trained network.
        arch: Chosen value of each choice, by label.
        state: State dict of the trained network, under the names of `space.freeze(arch)`.
        classes: Number of classes of the new head, at least 1.

    Raises:
        ArchError: `arch` is not of the space.
        KeyFormatError: A tensor is missing, unknown or of another shape.
        SpaceError: `classes` is below 1.
    """
    own, other = (_shapes(replace(space, num_labels=count), arch) for count in (space.num_labels, space.num_labels + 1))  # type: ignore[call-arg, type-var]
    head = tuple(name for name, shape in own.items() if other[name] != shape)
    _check(own, state)
    target = replace(space, num_labels=classes)  # type: ignore[call-arg, type-var]
    model = target.freeze(arch).eval()
    body = {name: tensor for name, tensor in state.items() if name not in head}
    model.load_state_dict(body | {name: torch.zeros_like(model.state_dict()[name]) for name in head}, strict=True)
    return NewHead(target, model, head)


def _shapes(space: HubSpace, arch: Mapping[str, Any]) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in space.freeze(arch).state_dict().items()}


def _check(shapes: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> None:
    missing, unknown = sorted(set(shapes) - set(state)), sorted(set(state) - set(shapes))
    if missing or unknown:
        raise KeyFormatError(f"the weights lack {missing[:3]} and have {unknown[:3]}, which the network has not")
    wrong = [name for name, shape in shapes.items() if state[name].shape != shape]
    if wrong:
        name = wrong[0]
        raise KeyFormatError(f"{name} has the shape {tuple(state[name].shape)} in the weights and {tuple(shapes[name])} here")
