"""`typed_arguments`: gives arguments that a user wrote in YAML or JSON the types that the signature of a function asks for."""

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import partial
from typing import Any

from pydantic import ConfigDict, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from hubserve.errors import HubserveError

UNKNOWN_TYPE = (PydanticUserError, PydanticUndefinedAnnotation, SchemaError, TypeError)
"""Errors of pydantic for types that it cannot validate."""

MOST = 100
"""Most characters of a value in an error message."""

TEXT_IN_YAML = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?[0-9]+\.[0-9]*[eE][0-9]+")
"""Numbers such as 1e-2 and 1.5e3, which YAML 1.1 reads as text: it wants a point and a sign, as in 1.0e-2 and 1.5e+3."""


def typed_arguments(
    function: Callable[..., Any], given: Mapping[str, Any], *, where: str, error: type[HubserveError]
) -> dict[str, Any]:
    """Returns the arguments `given`, with the types that `function` asks for; unknown names are kept with their values.

    A text is converted where the function asks for another type: "16" to an int, "1e-2", which YAML 1.1 reads as text, to a
    float, "false" to a bool; a list to a tuple, and a mapping to a record. Where a parameter has no annotation, a text is
    converted to the type of the default, if that is a number or a bool and the text is one. Without either, and for a name that
    the function does not have, a text such as "1e-2" is refused, because it may have been meant as a number. So is a bool where
    a number is asked for.

    Args:
        function: A function, a class or a `functools.partial` of one, which is not called.
        given: Arguments by name.
        where: Beginning of an error message, before the name of an argument, such as "strategy.arguments.".
        error: Class of the error that is raised.

    Raises:
        HubserveError: Of the class `error`: an argument has a value that the function does not accept.
    """
    types, defaults = _annotations(function), _defaults(function)
    typed: dict[str, Any] = {}
    for name, value in given.items():
        if value is None and name in defaults and defaults[name] is None:
            typed[name] = None  # The annotation may say what None is replaced with.
        elif types.get(name, Any) in (Any, object):
            typed[name] = _untyped(value, defaults.get(name), where + name, error)
        else:
            typed[name] = _typed(value, types[name], where + name, error)
    return typed


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the types of the parameters by name; an empty dict if an annotation names what only a type checker knows."""
    while isinstance(function, partial):
        function = function.func
    source = function.__init__ if inspect.isclass(function) and not is_dataclass(function) else function  # type: ignore[misc]
    try:
        return typing.get_type_hints(source, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return {found.name: found.default for found in inspect.signature(function).parameters.values()}
    except (TypeError, ValueError):  # Some built-in functions have no signature.
        return {}


def _typed(value: Any, wanted: Any, where: str, error: type[HubserveError]) -> Any:
    adapter = _adapter(wanted)
    if adapter is None:
        return value
    try:
        made = adapter.validate_python(value)
    except ValidationError as mistakes:
        raise error(_sentence(where, value, mistakes)) from mistakes
    if isinstance(value, bool) and isinstance(made, int | float) and not isinstance(made, bool):
        raise error(f"{where} = {value}: a number is asked for, and YAML reads yes, no, on and off as true and false")
    return _unchanged_numbers(value, made)


def _adapter(wanted: Any) -> TypeAdapter[Any] | None:
    """Returns what validates values of a type; None for a type that pydantic does not know how to validate."""
    try:
        return TypeAdapter(wanted, config=ConfigDict(arbitrary_types_allowed=True))
    except UNKNOWN_TYPE:
        pass  # Records have a configuration of their own, and accept no other.
    try:
        return TypeAdapter(wanted)
    except UNKNOWN_TYPE:
        return None


def _unchanged_numbers(value: Any, made: Any) -> Any:
    """Returns `made` with the ints of `value` where it has equal floats: studies of earlier runs compare settings as text."""
    if type(value) is int and isinstance(made, float) and made == value:
        return value
    if isinstance(value, list | tuple) and isinstance(made, list | tuple) and len(value) == len(made):
        return type(made)(map(_unchanged_numbers, value, made))
    return made


def _untyped(value: Any, default: Any, where: str, error: type[HubserveError]) -> Any:
    if not isinstance(value, str):
        return value
    if isinstance(default, bool | int | float):
        wanted: Any = bool if isinstance(default, bool) else int | float
        try:
            return TypeAdapter[Any](wanted).validate_python(value)
        except ValidationError:
            return value
    if TEXT_IN_YAML.fullmatch(value):
        raise error(
            f"{where} = {value!r} is text: YAML reads numbers with an exponent only with a point and a sign. Write "
            f"{float(value)!r} for the number; a parameter with the annotation `str` takes the text"
        )
    return value


def _sentence(where: str, value: Any, mistakes: ValidationError) -> str:
    found = mistakes.errors(include_url=False, include_context=False)
    said = list(dict.fromkeys(entry["msg"] for entry in found))
    if len(found) == 1:
        where, value = ".".join([where, *map(str, found[0]["loc"])]), found[0]["input"]
    text = repr(value)
    return f"{where} = {text if len(text) <= MOST else f'{text[: MOST - 3]}...'}: {', or '.join(said[:4])}"
