"""Checks of the ranges of strategies' settings."""

from hubserve.errors import StrategyError


def at_least(settings: object, minimum: float, *names: str) -> None:
    """Raises StrategyError if one of the attributes `names` of `settings` is below `minimum` or NaN; None is accepted."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value >= minimum:
            raise StrategyError(f"{_owner(settings)}: {name} = {value!r} must be at least {minimum}")


def probability(settings: object, *names: str) -> None:
    """Raises StrategyError if one of the attributes `names` of `settings` is not in [0, 1]; None is accepted."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not 0 <= value <= 1:
            raise StrategyError(f"{_owner(settings)}: {name} = {value!r} is a probability, from 0 to 1")


def _owner(settings: object) -> str:
    return type(settings).__name__.removesuffix("Settings")
