"""`LiveModels`: loads the models of the store and decides which of them answers for a name, while the store changes.

A thread watches the store, and loads and warms up new versions; the version that answered before answers until then. A version
that was never loaded on this machine is first loaded by another process, which may take long; if no version of that name is
loaded, the next older one is loaded meanwhile. A version that cannot be loaded is refused: the reason is in the log and in the
answer of /models, and the next older version answers. If all loaded models take too much memory, those whose names were not
requested for the longest time are unloaded. Requests only look a name up in a dict; they wait only if no version answers for it
yet.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from hubserve.errors import HubserveError, ModelRefusedError, StoreError
from hubserve.service.first_loads import FirstLoads
from hubserve.service.loaded_model import SMALLEST_BYTES, LoadedModel, resident_bytes
from hubserve.service.name_resolution import DEFAULT, NameResolver, TrafficShare
from hubserve.service.text_engine import AnyEngine
from hubserve.service.traffic_split import TrafficSplit
from hubserve.storage_faults import storage_error, with_denial
from hubserve.store import StoredModel

log = logging.getLogger("hubserve.service")

PATIENCE_SECONDS = 3.0
"""Seconds for which a first load is waited for before the next older version is loaded; most first loads end in that time."""

POLL_SECONDS = 0.05
"""The interval in seconds at which unfinished first loads are checked."""

Key = tuple[str, object]
"""Key of a version: its tag and its time of publication. A tag that was deleted and published again is another version."""


class _StillLoadingError(Exception):
    """Raised if no version can answer for a name yet, because the first load of one has not ended."""


class LiveModels:
    """Loads versions of models in a thread, and returns the loaded model that answers the requests for a name.

    Args:
        resolver: Finds the versions that a name stands for.
        load: Function that returns the engine of a version, warmed up. If it raises an exception, the version is refused.
        seconds: Seconds between two checks of the store.
        memory_bytes: Largest memory of all engines in bytes. Beyond it, the least recently used names are unloaded, except the
            default model and the name that was used last.
        first_loads: Decides which versions may be loaded now; None allows all.
        on_refusal: Function that is called with each version that cannot be loaded.
        on_memory: Function that is called with the memory of all engines in bytes, whenever it changes.

    Attributes:
        resolver: Finds the versions that a name stands for.
        refused: Reason why each version that cannot be loaded was refused, by its key.
    """

    def __init__(
        self,
        resolver: NameResolver,
        load: Callable[[StoredModel], AnyEngine],
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
        """Returns the model that answers requests for `name` now. Waits if no version of it is loaded yet.

        Raises:
            ModelNotFoundError: The store has no such model.
            ModelRefusedError: No version of it can be loaded.
            StoreError: The store cannot be read; a StorageError if access is denied.
        """
        route = self._routes.get(name)
        return route.pick() if route is not None else await asyncio.wrap_future(self.ask(name))

    def ask(self, name: str) -> Future[LoadedModel]:
        """Asks the thread for the model of a name, and returns a future for it, whose errors are those of `get`.

        The future cannot be cancelled, because other requests may wait for it, too.
        """
        with self._lock:
            found = self._asked.get(name)
            if found is None:
                found = self._asked[name] = Future()
                # A running future cannot be cancelled, whichever of its waiters stops waiting.
                found.set_running_or_notify_cancel()
        self._wake.set()
        return found

    async def get_soon(self, name: str = DEFAULT, seconds: float = 1.0) -> LoadedModel | None:
        """Returns what `get` does, or None if that takes longer than `seconds`. Raises what `get` raises."""
        try:
            async with asyncio.timeout(seconds):
                return await self.get(name)
        except TimeoutError:
            return None

    @property
    def first_loads(self) -> dict[str, float]:
        """Seconds since the first load of each version began, by its tag, for versions whose first load has not ended."""
        return {tag: time.monotonic() - start for (tag, _), start in list(self._loading.items())}

    @property
    def loaded(self) -> list[LoadedModel]:
        """All models that are loaded."""
        return list(self._engines.values())

    def close(self, seconds: float = 10.0) -> None:
        """Ends the thread and waits for it, at most `seconds`. A thread that is loading a model ends with the process."""
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
        """Keeps a question for the next time, together with any that was asked for the same name meanwhile."""
        with self._lock:
            other = self._asked.setdefault(name, future)
        if other is not future:
            other.add_done_callback(lambda done: _copy_outcome(done, future))

    def _settle(self, name: str) -> TrafficSplit:
        """Decides which models answer for a name and returns them; the previous ones answer until the new ones are ready.

        Raises:
            HubserveError: No version can answer.
            _StillLoadingError: No version can answer yet.
        """
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
        """Returns whether a version may be loaded now. If it can never be loaded, refuses it and returns False."""
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
        before = resident_bytes()
        try:
            engine = self._load(model)
        except Exception as error:  # A corrupt package makes libraries raise anything.
            self._refuse(model, error)
            return None
        largest = max(entry.bytes for entry in engine.manifest.files.values())
        served = LoadedModel(model.tag, engine, max(resident_bytes() - before, largest, SMALLEST_BYTES))
        self._keep({**self._engines, _key(model): served})
        return served

    def _keep(self, engines: dict[Key, LoadedModel]) -> None:
        self._engines = engines
        self._on_memory(self._taken_bytes())

    def _taken_bytes(self) -> int:
        return sum(served.memory_bytes for served in self._engines.values())

    def _unload_unused(self) -> None:
        """Unloads engines that answer for no name, then names as `memory_bytes` says, until the memory suffices."""
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
        """Returns the state of a version, "loaded", "idle", "loading" or "refused", and why it is refused, or else None."""
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
