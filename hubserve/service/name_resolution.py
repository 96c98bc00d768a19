"""`NameResolver`: finds the versions of models that a name stands for, by the store and the aliases."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from hubserve import store
from hubserve.errors import AliasError, HubserveError, ModelNotFoundError, StorageError
from hubserve.similar_names import suggest
from hubserve.store import StoredModel, aliases
from hubserve.store.aliases import PRODUCTION, Alias

log = logging.getLogger("hubserve.service")

DEFAULT = ""
"""The name that stands for the default model, which answers requests that name no model."""


@dataclass(frozen=True)
class TrafficShare:
    """A share of the requests for a name, and the versions that may answer them.

    Attributes:
        weight: Percentage of the requests.
        versions: Versions in order of preference: each answers only if those before it cannot be loaded.
    """

    weight: int
    versions: Sequence[StoredModel]


class NameResolver:
    """Finds the versions that a name stands for, in the store and the aliases as they were at the last `refresh`.

    Args:
        default: Name, tag or alias of the default model; None takes the alias `production`, or the newest version in the store
            if there is no such alias.

    Attributes:
        models: The versions in the store, newest first; empty before the first `refresh`.
        aliases: The aliases by name.
        fault: Error that the last `refresh` raised because the store could not be read; None if it could.
    """

    def __init__(self, default: str | None = None) -> None:
        self._default = default
        self._stamps: object = None
        self._alias_problem = ""
        self.fault: HubserveError | None = None
        self.models: list[StoredModel] = []
        self.aliases: dict[str, Alias] = {}

    def refresh(self) -> bool:
        """Reads the store and the aliases if they may have changed, and returns whether anything may be different.

        Files that this user may not read are tried each time, because a change of permissions does not change the stamps. If
        the aliases cannot be read, the error is logged and they stay as they were.

        Raises:
            StoreError: The store is not a folder, or cannot be made; `models` stays as it was.
            StorageError: This user may not list the store; `models` stays as it was.
        """
        try:
            stamps = store.stamp(), aliases.stamp()
        except HubserveError as error:
            self.fault = error
            raise
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
        """Reads the aliases; if they cannot be read, logs the error once and keeps the previous ones."""
        problem = ""
        try:
            self.aliases = aliases.list_aliases()
        except (AliasError, StorageError) as error:  # The aliases keep their last meaning.
            problem = str(error)
            if problem != self._alias_problem:
                log.error("%s", error)
        self._alias_problem = problem

    def traffic_shares(self, name: str) -> list[TrafficShare]:
        """Returns the versions that answer for a name, tag, alias or `DEFAULT`, with their shares of the requests.

        There is one share of 100 %. For an alias with a canary, the canary's share follows as a second one.

        Raises:
            ModelNotFoundError: The store has no such version, or is empty.
            StoreError: No such version is known, and the last `refresh` failed; `StorageError` if access was denied.
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
        """Returns the aliases that stand for the version `tag`; after an alias whose canary it is, the percentage is added."""
        found = []
        for name, alias in sorted(self.aliases.items()):
            found += [name] if self._means(alias.model, tag) else []
            found += [f"{name} (canary, {alias.weight} %)"] if alias.canary and self._means(alias.canary, tag) else []
        return found

    def known_names(self, name: str) -> set[str]:
        """Returns all aliases and, to be suggested for `name`, all tags if it has a ":", else the names of all models."""
        return {*self.aliases, *(model.tag if ":" in name else model.name for model in self.models)}

    def _means(self, name: str, tag: str) -> bool:
        """Returns whether a name or tag stands for the version `tag` now."""
        return any(model.tag == tag for model in self._found(name)[:1])

    def _versions(self, name: str) -> list[StoredModel]:
        """Returns the versions of a name or tag, newest first. Raises as `traffic_shares` does."""
        found = self._found(name)
        if not found and self.fault is not None:
            raise self.fault
        if not found:
            unread = f" The aliases are not known: {self._alias_problem}" if self._alias_problem else ""
            raise ModelNotFoundError(f"the store has no {name[:100]!r}. {suggest(name[:100], self.known_names(name))}{unread}")
        return found

    def _found(self, name: str) -> list[StoredModel]:
        """Returns the versions of "name" or "name:latest", newest first, or the one with a tag; empty if there are none."""
        base, _, version = name.partition(":")
        if version in ("", "latest") and not name.endswith(":"):
            return [model for model in self.models if model.name == base]
        return [model for model in self.models if model.tag == name]
