"""The models that are loaded: which engine answers for which name, while versions are published, deleted or unloaded.

One thread looks at the store, and loads and warms up new versions; until one is ready, the version that answered before goes on
answering. A version that cannot be loaded is refused once, which the log, /models and the metrics show, and the next older one
answers in its place. Beyond a limit of memory, the models whose names were not asked for longest are unloaded. Requests only
look a name up in a dict; they wait only where no version answers for it yet.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hubserve.errors import HubserveError, ModelRefusedError, StoreError
from hubserve.service.engine import Engine
from hubserve.service.name_resolution import DEFAULT, NameResolver, TrafficShare
from hubserve.store import StoredModel

log = logging.getLogger("hubserve.service")

Key = tuple[str, object]
"""Tag and time of publication: a tag that was deleted and published again is another version."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version that is loaded.

    Attributes:
        tag: "name:version".
        engine: Its engine, warmed up.
        memory_bytes: Bytes by which this process grew when it was loaded; at least the size of its largest file.
    """

    tag: str
    engine: Engine
    memory_bytes: int


@dataclass
class TrafficSplit:
    """The loaded models that answer for a name.

    Attributes:
        shares: Percent of the traffic with the model that gets it.
        used: Time of the last request for the name, in seconds of the monotonic clock.
    """

    shares: Sequence[tuple[int, LoadedModel]]
    used: float = field(default_factory=time.monotonic)

    def pick(self) -> LoadedModel:
        """The model for one request, chosen at random by the shares."""
        self.used = time.monotonic()
        if len(self.shares) == 1:
            return self.shares[0][1]
        weights = [weight for weight, _ in self.shares]
        return random.choices([served for _, served in self.shares], weights)[0]


class LiveModels:
    """Loads versions in a thread of its own, and finds the one that answers for a name; see the module.

    Args:
        resolver: Finds the versions that a name means.
        load: Function from a version to its engine, warmed up.
        seconds: Time between two looks at the store.
        memory_bytes: Largest memory of all engines; beyond it, the least recently used names are unloaded.
        on_refusal: Called with each version that cannot be loaded.
        on_memory: Called with the number of bytes that all engines take, whenever it changes.

    Attributes:
        resolver: The same.
        refused: Reason for each version that cannot be loaded.
    """

    def __init__(
        self,
        resolver: NameResolver,
        load: Callable[[StoredModel], Engine],
        *,
        seconds: float,
        memory_bytes: float,
        on_refusal: Callable[[StoredModel], None] = lambda model: None,
        on_memory: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.resolver = resolver
        self.refused: dict[Key, str] = {}
        self._load = load
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._on_refusal = on_refusal
        self._on_memory = on_memory
        self._engines: dict[Key, LoadedModel] = {}
        self._routes: dict[str, TrafficSplit] = {}
        self._asked: dict[str, Future[LoadedModel]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        self._thread.start()

    async def get(self, name: str = DEFAULT) -> LoadedModel:
        """The model that answers for a name now; waits only where none does yet.

        Raises:
            ModelNotFoundError: The store has no such model.
            ModelRefusedError: No version of it can be loaded.
        """
        route = self._routes.get(name)
        return route.pick() if route is not None else await asyncio.wrap_future(self.ask(name))

    def ask(self, name: str) -> Future[LoadedModel]:
        """Asks the thread for the model of a name. The future cannot be cancelled: other requests wait for it too."""
        with self._lock:
            found = self._asked.get(name)
            if found is None:
                found = self._asked[name] = Future()
                # A running future cannot be cancelled, whichever of its waiters stops waiting.
                found.set_running_or_notify_cancel()
        self._wake.set()
        return found

    @property
    def loaded(self) -> list[LoadedModel]:
        """All models that are loaded."""
        return list(self._engines.values())

    def close(self, seconds: float = 10.0) -> None:
        """Ends the thread, and waits at most `seconds` for it; a thread that still loads a model ends with the process."""
        self._closing = True
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._look()
            except Exception:  # Such as a store that is being moved: the next look may succeed.
                log.exception("the store could not be looked at")
            self._wake.wait(max(self._seconds, 0.01))
            self._wake.clear()

    def _look(self) -> None:
        with self._lock:
            asked, self._asked = self._asked, {}
        try:
            changed = self.resolver.refresh()
            for name, future in asked.items():
                try:
                    future.set_result(self._settle(name).pick())
                except HubserveError as error:
                    future.set_exception(error)
        finally:
            for future in asked.values():
                if not future.done():
                    future.set_exception(StoreError("the model store cannot be read at the moment; its log says why"))
        for name in [name for name in self._routes if changed and name not in asked]:
            with suppress(HubserveError):
                self._settle(name)
        if changed or asked:
            self._unload_unused()

    def _settle(self, name: str) -> TrafficSplit:
        """Decides again which models answer for a name; those that did go on until the others are ready."""
        try:
            shares = self._shares(name, self.resolver.traffic_shares(name))
        except HubserveError:
            self._routes.pop(name, None)
            raise
        before = self._routes.get(name)
        route = TrafficSplit(shares, before.used) if before is not None else TrafficSplit(shares)
        if before is None or [s.tag for _, s in before.shares] != [s.tag for _, s in shares]:
            models = ", ".join(f"{served.tag} ({weight} %)" for weight, served in shares)
            log.info("%s answers for %s", models, name or "requests that name no model")
        self._routes[name] = route
        return route

    def _shares(self, name: str, traffic_shares: Sequence[TrafficShare]) -> list[tuple[int, LoadedModel]]:
        found = [(branch.weight, self._first_that_loads(branch.versions)) for branch in traffic_shares]
        shares = [(weight, served) for weight, served in found if served is not None]
        if not shares:
            newest = traffic_shares[0].versions[0]
            raise ModelRefusedError(
                f"no version of {name or 'any model'} can be loaded; {newest.tag}: {self.refused[_key(newest)]}"
            )
        return shares

    def _first_that_loads(self, versions: Sequence[StoredModel]) -> LoadedModel | None:
        for model in versions:
            if _key(model) not in self.refused:
                served = self._engines.get(_key(model)) or self._loaded(model)
                if served is not None:
                    return served
        return None

    def _loaded(self, model: StoredModel) -> LoadedModel | None:
        before = _resident_bytes()
        try:
            engine = self._load(model)
        except Exception as error:  # A corrupt package makes libraries raise anything.
            self.refused[_key(model)] = f"{type(error).__name__}: {error}"
            self._on_refusal(model)
            log.error("%s is refused: %s", model.tag, self.refused[_key(model)])
            return None
        largest = max(entry.bytes for entry in engine.manifest.files.values())
        served = LoadedModel(model.tag, engine, max(_resident_bytes() - before, largest))
        self._keep({**self._engines, _key(model): served})
        return served

    def _keep(self, engines: dict[Key, LoadedModel]) -> None:
        self._engines = engines
        self._on_memory(self._taken_bytes())

    def _taken_bytes(self) -> int:
        return sum(served.memory_bytes for served in self._engines.values())

    def _unload_unused(self) -> None:
        """Unloads engines that answer for no name, then the least recently used names while the rest takes too much memory."""
        self._keep_routed()
        by_age = sorted((route.used, name) for name, route in self._routes.items() if name != DEFAULT)
        for _, name in by_age[:-1]:
            if self._taken_bytes() <= self._memory_bytes:
                return
            log.info("%s is unloaded until a request names it again", name)
            del self._routes[name]
            self._keep_routed()

    def _keep_routed(self) -> None:
        routed = {served for route in self._routes.values() for _, served in route.shares}
        self._keep({key: served for key, served in self._engines.items() if served in routed})
        there = set(map(_key, self.resolver.models))
        self.refused = {key: reason for key, reason in self.refused.items() if key in there}

    def state_of(self, model: StoredModel) -> tuple[str, str | None]:
        """One of "loaded", "idle" and "refused"; and why, where it is refused."""
        if reason := self.refused.get(_key(model)):
            return "refused", reason
        return ("loaded" if _key(model) in self._engines else "idle"), None


def _key(model: StoredModel) -> Key:
    return model.tag, model.created


def _resident_bytes() -> int:
    """Memory of this process; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return 0
