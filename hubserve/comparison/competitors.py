"""`Competitor`, a strategy that takes part in a comparison; competitors are named by texts or in YAML files."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from optuna.samplers import BaseSampler
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hubserve.comparison.source_digest import source_digest
from hubserve.errors import StrategyError
from hubserve.find_named import find_named
from hubserve.strategy import Strategy, as_strategy
from hubserve.strategy.named_strategies import MULTI_TRIAL, SAMPLER_KIND, takes_seed, unknown_argument
from hubserve.typed_arguments import typed_arguments
from hubserve.validation_sentence import first_mistake


@dataclass(frozen=True)
class Competitor:
    """A strategy with its settings, which is made anew for each seed.

    Attributes:
        label: Name in reports.
        kind: Class of the strategy or of another sampler of Optuna, or a function that returns one. It is called with the
            arguments and, if it takes one, the keyword argument `seed`.
        arguments: Keyword arguments.
    """

    label: str
    kind: Callable[..., BaseSampler]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def make(self, seed: int) -> Strategy:
        """Returns a new strategy for the search with this seed; another sampler of Optuna is wrapped by `as_strategy`.

        Raises:
            StrategyError: The strategy cannot be made, e.g. because an argument is unknown or not valid.
        """
        try:
            return as_strategy(self.kind(**self.arguments, **({"seed": seed} if takes_seed(self.kind) else {})))
        except (StrategyError, TypeError, ValueError) as error:
            raise StrategyError(f"{self.label}: {error}") from error

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the name and the arguments, and of the sources of the strategy (`source_digest`)."""
        name = [self.kind.__module__, self.kind.__qualname__]
        arguments = json.dumps(self.arguments, sort_keys=True, default=repr)
        return hashlib.sha256(json.dumps([name, arguments, source_digest(self.kind)]).encode()).hexdigest()


class _Entry(BaseModel):
    """A competitor as a text or a YAML file names it; its label is the name if none is given."""

    model_config = ConfigDict(extra="forbid")

    name: str
    label: str | None = None
    arguments: dict[str, Any] = {}


def find_competitors(texts: Sequence[str]) -> list[Competitor]:
    """Returns the competitors that texts name.

    Each text is a list, separated by commas, of entries `NAME`, `NAME:argument=value` or `NAME:argument=value:argument=value`.
    A name is that of a strategy of hubserve, of an entry point, or an import path such as `my_module:MyStrategy`; a sampler of
    Optuna may be named as well (`optuna.samplers:TPESampler`). A value is written as in YAML, without commas and colons. A text
    that ends in .yaml or .yml is a file with a list of such entries, or of mappings with the keys `name`, `label` and
    `arguments`.

    Raises:
        StrategyError: No strategy is named, there is no such strategy or argument, a value is not valid, a file cannot be read,
            or two competitors have the same label.
    """
    entries = [entry for text in texts for entry in _entries(text)]
    if not entries:
        raise StrategyError("name at least one strategy to compare")
    found = [_found(entry) for entry in entries]
    labels = [competitor.label for competitor in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise StrategyError(f"two competitors are called {twice!r}; name it once, or give them labels in a YAML file")
    return found


def _entries(text: str) -> list[_Entry]:
    if text.endswith((".yaml", ".yml")):
        return _file_entries(Path(text))
    return [_entry(part.strip()) for part in text.split(",") if part.strip()]


def _file_entries(path: Path) -> list[_Entry]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        listed = [_entry(item) if isinstance(item, str) else item for item in data] if isinstance(data, list) else data
        return TypeAdapter(list[_Entry]).validate_python(listed)
    except ValidationError as error:
        raise StrategyError(f"{path}: {first_mistake(error, whole='the file')}; it is a list of strategies") from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise StrategyError(f"{path} cannot be read as a list of strategies: {error}") from error


def _entry(text: str) -> _Entry:
    """Parses `NAME:argument=value`, where the name may have colons, but no equals sign."""
    parts = text.split(":")
    settings = [part for part in parts if "=" in part]
    name = ":".join(part for part in parts if "=" not in part)
    arguments = {}
    for setting in settings:
        argument, _, value = setting.partition("=")
        try:
            arguments[argument.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise StrategyError(f"{text}: {value!r} is no value: {error}") from error
    return _Entry(name=name, label=text, arguments=arguments)


def _found(entry: _Entry) -> Competitor:
    kind: type[BaseSampler] = find_named(entry.name, MULTI_TRIAL, SAMPLER_KIND)
    unknown = unknown_argument(kind, entry.arguments)
    if unknown is not None:
        raise StrategyError(f"{entry.label or entry.name}: {entry.name} has no argument {unknown[0]!r}. {unknown[1]}")
    arguments = typed_arguments(kind, entry.arguments, where=f"{entry.label or entry.name}: ", error=StrategyError)
    competitor = Competitor(entry.label or entry.name, kind, arguments)
    competitor.make(0)
    return competitor
