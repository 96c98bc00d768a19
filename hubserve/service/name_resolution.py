"""Finds the versions that a name means: by the store and the aliases, which are read again only where they changed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from hubserve import store
from hubserve.errors import AliasError, HubserveError, ModelNotFoundError, StorageError, suggest
from hubserve.store import StoredModel, aliases
from hubserve.store.aliases import PRODUCTION, Alias

log = logging.getLogger("hubserve.service")

DEFAULT = ""
"""The name that stands for requests that name no model."""


@dataclass(frozen=True)
class TrafficShare:
    """A part of the traffic of a name.

    Attributes:
        weight: Percent of the traffic.
        versions: Versions that may answer, in order: each answers where those before it cannot be loaded.
    """

    weight: int
    versions: Sequence[StoredModel]


class NameResolver:
    """The store and the aliases as they were at the last `refresh`.

    Args:
        default: Name that answers where a request names none; None means the alias `production`, or else the newest version.

    Attributes:
        models: The versions in the store.
        aliases: The aliases, by name.
        fault: Why the store could not be read at the last `refresh`; None where it was.
    """

    def __init__(self, default: str | None = None) -> None:
        self._default = default
        self._stamps: object = None
        self._alias_problem = ""
        self.fault: HubserveError | None = None
        self.models: list[StoredModel] = []
        self.aliases: dict[str, Alias] = {}

    def refresh(self) -> bool:
        """Reads the store and the aliases where they changed since the last time; whether they did.

        What this user may not read is looked at again each time, since its permissions change without a trace in the stamps.

        Raises:
            StoreError: The store is not a folder; what was read before stays.
            StorageError: This user may not list the store; what was read before stays.
        """
        stamps = store.stamp(), aliases.stamp()
        changed = stamps != self._stamps
        if not changed and not self._alias_problem and not any(model.problem for model in self.models):
            return False
        before = self.models, self.aliases
        try:
            found = store.list_models()
        except HubserveError as error:
            self.fault = error
            raise
        self.fault = None
        if changed or found != self.models:
            self.models = found
        self._read_aliases()
        # The stamps from before the reading: a change during it is seen the next time.
        self._stamps = stamps
        return changed or before != (self.models, self.aliases)

    def _read_aliases(self) -> None:
        problem = ""
        try:
            self.aliases = aliases.list_aliases()
        except (AliasError, StorageError) as error:  # The aliases keep their last meaning.
            problem = str(error)
            if problem != self._alias_problem:
                log.error("%s", error)
        self._alias_problem = problem

    def traffic_shares(self, name: str) -> list[TrafficShare]:
        """The versions that answer for a name, tag, alias, or DEFAULT, with their shares of the traffic.

        Raises:
            ModelNotFoundError: The store has no version of that name.
        """
        if name == DEFAULT:
            name = self._default or (PRODUCTION if PRODUCTION in self.aliases else DEFAULT)
        if name == DEFAULT:
            if not self.models and self.fault is not None:
                raise self.fault
            if not self.models:
                raise ModelNotFoundError("the store is empty: `hubserve publish efficientnet-lite0` fills it")
            return [TrafficShare(100, self.models)]
        alias = aliases.meaning(name, self.aliases)
        stable = TrafficShare(100 - alias.weight, self._versions(alias.model))
        return [stable] if alias.canary is None else [stable, TrafficShare(alias.weight, self._versions(alias.canary))]

    def aliases_of(self, tag: str) -> list[str]:
        """The names of the aliases that resolve to the version `tag`; those of a canary with its percentage of the requests."""
        found = []
        for name, alias in sorted(self.aliases.items()):
            found += [name] if self._means(alias.model, tag) else []
            found += [f"{name} (canary, {alias.weight} %)"] if alias.canary and self._means(alias.canary, tag) else []
        return found

    def known_names(self, name: str) -> set[str]:
        """What `name` might have meant: the aliases, and the models; tags of these where `name` has a version."""
        return {*self.aliases, *(model.tag if ":" in name else model.name for model in self.models)}

    def _means(self, name: str, tag: str) -> bool:
        return any(model.tag == tag for model in self._found(name)[:1])

    def _versions(self, name: str) -> list[StoredModel]:
        found = self._found(name)
        if not found and self.fault is not None:
            raise self.fault
        if not found:
            unread = f" The aliases are not known: {self._alias_problem}" if self._alias_problem else ""
            raise ModelNotFoundError(f"the store has no {name[:100]!r}. {suggest(name[:100], self.known_names(name))}{unread}")
        return found

    def _found(self, name: str) -> list[StoredModel]:
        base, _, version = name.partition(":")
        if version in ("", "latest") and not name.endswith(":"):
            return [model for model in self.models if model.name == base]
        return [model for model in self.models if model.tag == name]
