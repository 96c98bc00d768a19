"""The models that are loaded: which engine answers for which name, while versions are published, deleted or unloaded.

One thread looks at the store, and loads and warms up new versions; until one is ready, the version that answered before goes on
answering. A version that was never loaded here is loaded by another process first, which may take long; where no other version
answers, the next older one is loaded meanwhile. A version that cannot be loaded is refused once, which the log, /models and the
metrics show, and the next older one answers in its place. Beyond a limit of memory, the models whose names were not asked for
longest are unloaded. Requests only look a name up in a dict; they wait only where no version answers for it yet.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from hubserve.errors import HubserveError, ModelRefusedError, StoreError
from hubserve.service.engine import Engine
from hubserve.service.first_loads import FirstLoads
from hubserve.service.loaded_model import LoadedModel, TrafficSplit
from hubserve.service.name_resolution import DEFAULT, NameResolver, TrafficShare
from hubserve.storage_faults import storage_error, with_denial
from hubserve.store import StoredModel

log = logging.getLogger("hubserve.service")

PATIENCE_SECONDS = 3.0
"""Time in which a first load usually ends, so that loading the next older version would be in vain."""

POLL_SECONDS = 0.05
"""The interval in seconds at which unfinished first loads are checked."""

Key = tuple[str, object]
"""Tag and time of publication: a tag that was deleted and published again is another version."""


SMALLEST_BYTES = 2**20
"""Least memory that is counted for a model: memory that was freed before is used again, so less cannot be measured."""


class _StillLoadingError(Exception):
    """No version can answer yet: the first load of one has not ended."""


class LiveModels:
    """Loads versions in a thread of its own, and finds the one that answers for a name; see the module.

    Args:
        resolver: Finds the versions that a name means.
        load: Function from a version to its engine, warmed up.
        seconds: Time between two looks at the store.
        memory_bytes: Largest memory of all engines; beyond it, the least recently used names are unloaded.
        first_loads: Says which versions may be loaded now; None where all may.
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
        first_loads: FirstLoads | None = None,
        on_refusal: Callable[[StoredModel], None] = lambda model: None,
        on_memory: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.resolver = resolver
        self.refused: dict[Key, str] = {}
        self._load = load
        self._first_loads = first_loads
        self._loading: dict[Key, float] = {}
        self._unsettled: set[str] = set()
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
        self._fault = ""
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

    async def get_soon(self, name: str = DEFAULT, seconds: float = 1.0) -> LoadedModel | None:
        """Returns what `get` does, or None if that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self.get(name)
        except TimeoutError:
            return None

    @property
    def first_loads(self) -> dict[str, float]:
        """Tag of each version that is being loaded for the first time -> seconds since that began."""
        return {tag: time.monotonic() - start for (tag, _), start in list(self._loading.items())}

    @property
    def loaded(self) -> list[LoadedModel]:
        """Returns all models that are loaded."""
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
            except Exception as error:  # Such as a store that is being moved: the next look may succeed.
                self._note_fault(error)
            self._wake.wait(POLL_SECONDS if self._loading else max(self._seconds, 0.01))
            self._wake.clear()

    def _note_fault(self, error: Exception) -> None:
        if not isinstance(error, HubserveError):
            log.exception("the store could not be looked at")
        elif self._fault != str(error):  # Not at each look.
            log.error("the store could not be looked at: %s", error)
        self._fault = str(error)

    def _look(self) -> None:
        with self._lock:
            asked, self._asked = self._asked, {}
        again: set[str] = set()
        try:
            changed = self.resolver.refresh()
            for name, future in asked.items():
                try:
                    future.set_result(self._settle(name).pick())
                except _StillLoadingError:
                    again.add(name)
                    self._ask_again(name, future)
                except HubserveError as error:
                    future.set_exception(error)
        finally:
            for name, future in asked.items():
                if not future.done() and name not in again:
                    future.set_exception(self.resolver.fault or StoreError("the model store cannot be read; the log says why"))
        unsettled = set(self._unsettled)
        for name in [name for name in self._routes if changed or name in unsettled]:
            if name not in asked:
                with suppress(HubserveError, _StillLoadingError):
                    self._settle(name)
        if changed or asked or unsettled:
            self._unload_unused()
            self._forget_deleted()
        if not self._unsettled:
            self._loading = {}

    def _ask_again(self, name: str, future: Future[LoadedModel]) -> None:
        """Leaves a question for the next look; together with one that came meanwhile."""
        with self._lock:
            other = self._asked.setdefault(name, future)
        if other is not future:
            other.add_done_callback(lambda done: _copy_outcome(done, future))

    def _settle(self, name: str) -> TrafficSplit:
        """Decides again which models answer for a name; those that did go on until the others are ready."""
        self._unsettled.discard(name)
        try:
            shares = self._shares(name, self.resolver.traffic_shares(name))
        except HubserveError:
            self._routes.pop(name, None)
            raise
        except _StillLoadingError:
            tags = {model.tag for model in self.resolver.models}
            if name in self._routes and not all(served.tag in tags for _, served in self._routes[name].shares):
                del self._routes[name]
            raise
        before = self._routes.get(name)
        route = TrafficSplit(shares, before.used) if before is not None else TrafficSplit(shares)
        if before is None or [s.tag for _, s in before.shares] != [s.tag for _, s in shares]:
            models = ", ".join(f"{served.tag} ({weight} %)" for weight, served in shares)
            log.info("%s answers for %s", models, name or "requests that name no model")
        self._routes[name] = route
        return route

    def _shares(self, name: str, traffic_shares: Sequence[TrafficShare]) -> list[tuple[int, LoadedModel]]:
        found = [(branch.weight, self._first_that_loads(name, branch.versions)) for branch in traffic_shares]
        shares = [(weight, served) for weight, served in found if served is not None]
        if not shares and name in self._unsettled:
            raise _StillLoadingError
        if not shares:
            newest = traffic_shares[0].versions[0]
            raise ModelRefusedError(
                f"no version of {name or 'any model'} can be loaded; {newest.tag}: {self.refused[_key(newest)]}"
            )
        return shares

    def _first_that_loads(self, name: str, versions: Sequence[StoredModel]) -> LoadedModel | None:
        waits = False
        for model in versions:
            if _key(model) in self.refused:
                continue
            served = self._engines.get(_key(model))
            # While a newer one is loaded for the first time, only what is loaded already answers at once.
            if served is None and not waits:
                if not self._is_allowed(model):
                    if _key(model) in self._loading:
                        self._unsettled.add(name)
                        waits = time.monotonic() - self._loading[_key(model)] < PATIENCE_SECONDS
                    continue
                served = self._loaded(model)
            if served is not None:
                return served
        return None

    def _is_allowed(self, model: StoredModel) -> bool:
        """Whether a version may be loaded now; refuses it where it never may."""
        try:
            allowed = self._first_loads is None or self._first_loads.may_load(model)
        except Exception as error:
            self._loading.pop(_key(model), None)
            self._refuse(model, error)
            return False
        if allowed:
            self._loading.pop(_key(model), None)
        else:
            self._loading.setdefault(_key(model), time.monotonic())
        return allowed

    def _refuse(self, model: StoredModel, error: Exception) -> None:
        error = storage_error(error) or error  # type: ignore[assignment]
        self.refused[_key(model)] = f"{type(error).__name__}: {with_denial(str(error), error)}"
        self._on_refusal(model)
        log.error("%s is refused: %s", model.tag, self.refused[_key(model)])

    def _loaded(self, model: StoredModel) -> LoadedModel | None:
        before = _resident_bytes()
        try:
            engine = self._load(model)
        except Exception as error:  # A corrupt package makes libraries raise anything.
            self._refuse(model, error)
            return None
        largest = max(entry.bytes for entry in engine.manifest.files.values())
        served = LoadedModel(model.tag, engine, max(_resident_bytes() - before, largest, SMALLEST_BYTES))
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

    def _forget_deleted(self) -> None:
        if self._first_loads is not None:
            self._first_loads.keep(self.resolver.models)
        there = set(map(_key, self.resolver.models))
        self._unsettled &= set(self._routes) | set(self._asked)
        self.refused = {key: reason for key, reason in self.refused.items() if key in there}
        self._loading = {key: start for key, start in self._loading.items() if key in there}

    def state_of(self, model: StoredModel) -> tuple[str, str | None]:
        """One of "loaded", "idle", "loading" and "refused"; and why, where it is refused."""
        if reason := self.refused.get(_key(model)):
            return "refused", reason
        if _key(model) in self._loading:
            return "loading", None
        return ("loaded" if _key(model) in self._engines else "idle"), None


def _copy_outcome(done: Future[LoadedModel], future: Future[LoadedModel]) -> None:
    if error := done.exception():
        future.set_exception(error)
    else:
        future.set_result(done.result())


def _key(model: StoredModel) -> Key:
    return model.tag, model.created


def _resident_bytes() -> int:
    """Memory of this process; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return 0
