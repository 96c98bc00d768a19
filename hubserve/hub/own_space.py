"""Model spaces of a user's own: which classes are accepted, and `as_hub_space`, which makes them like those of the hub."""

import inspect
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from hubserve.errors import SpaceError
from hubserve.find_named import NamedKind
from hubserve.hub.hub_space import HubSpace
from hubserve.space import ModelSpace


def _problem(found: Any) -> str | None:
    if not inspect.isclass(found):
        return f"is a {type(found).__name__}, and a model space is a subclass of hubserve.space.ModelSpace"
    if not issubclass(found, ModelSpace):
        return "is a class and no model space: derive it from hubserve.space.ModelSpace"
    if inspect.isabstract(found):
        return f"lacks {', '.join(sorted(found.__abstractmethods__))}, so it makes no networks"
    if not is_dataclass(found) or "__dataclass_params__" not in vars(found) or not vars(found)["__dataclass_params__"].frozen:
        return "is not a frozen dataclass: write @dataclass(frozen=True) above it"
    classifies = getattr(found, "outputs", None) in (None, HubSpace.outputs)
    if classifies and "num_labels" not in {field.name for field in fields(found)}:
        return (
            "has no field num_labels, the number of classes of its networks: add `num_labels: int = 10`; or the properties "
            "`inputs` and `outputs` if they do not classify"
        )
    return None


SPACE_KIND = NamedKind("hubserve.spaces", "no model space is called", SpaceError, _problem)
"""Entry points, error class and check with which `find_named` finds the class of a space by its name or import path."""


@cache
def as_hub_space(space: type[ModelSpace]) -> type[HubSpace]:
    """Returns a class of model spaces with what those of the hub have besides: a paper, an input size and cells.

    A subclass of HubSpace is returned as it is. For any other class, the result is a subclass of it and of HubSpace with the
    same name, whose paper is None and whose input size is that of HubSpace.
    """
    if issubclass(space, HubSpace):
        return space
    names = {"__module__": space.__module__, "__qualname__": space.__qualname__, "__doc__": space.__doc__}
    return type(space.__name__, (space, HubSpace), names | {"own_class": space})


def own_class(space: ModelSpace) -> type[ModelSpace]:
    """Returns the class that the user wrote, of a space that `as_hub_space` may have derived from it."""
    return getattr(type(space), "own_class", type(space))
