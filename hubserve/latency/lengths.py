"""Lengths of the inputs with which a network is measured, where an axis has a name in place of a fixed length."""

from collections.abc import Mapping

from hubserve.errors import ProfileError
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.registry import space_name
from hubserve.package.signature import ModelSignature
from hubserve.space import ModelSpace


def measured_signature(space: ModelSpace | None) -> ModelSignature | None:
    """Returns the inputs and outputs with which the networks of a space are measured; None if they take images.

    The inputs are `HubSpace.cost_entries`.
    """
    if not isinstance(space, HubSpace) or space.takes_images:
        return None
    return ModelSignature(space.cost_entries, space.outputs)


def space_lengths(space: ModelSpace, given: Mapping[str, int] | None = None) -> dict[str, int]:
    """Returns the length of each named axis, besides "batch", of the inputs with which the networks of a space are measured.

    It is the given one, else the usual one of the space, else one that exported models are compared with. The dict is empty for
    spaces of images.

    Args:
        space: Model space with its settings.
        given: Lengths by the names of axes; None gives none.

    Raises:
        ProfileError: There is no axis of a given name, or its length is not allowed.
    """
    signature = measured_signature(space)
    axes = {} if signature is None else signature.axes
    check_lengths(axes, given or {}, space_name(space))
    if signature is None or not isinstance(space, HubSpace):
        return {}
    return {axis: {**signature.lengths_at(1.0), **space.cost_lengths, **(given or {})}[axis] for axis in axes}


def check_lengths(axes: Mapping[str, tuple[int, int | None]], given: Mapping[str, int], subject: str) -> None:
    """Checks lengths that somebody asks for.

    Args:
        axes: Smallest and largest length of each named axis; None means that any is allowed.
        given: Lengths by the names of axes.
        subject: Name of the model or space, for the message.

    Raises:
        ProfileError: There is no axis of a given name, or its length is not allowed.
    """
    for axis, length in given.items():
        smallest, largest = axes.get(axis, (1, 0))
        if axis not in axes or length < smallest or (largest is not None and length > largest):
            known = ", ".join(f"{name} ({low} to {high or 'any'})" for name, (low, high) in axes.items()) or "none"
            raise ProfileError(f"length {axis}={length}: {subject} has the axes {known}")
