"""The first loads of versions in the store: each in a process of its own, several at a time, while others answer."""

import logging
import time
from collections.abc import Collection, Sequence

from hubserve.errors import LoadLimitError
from hubserve.package.first_load import FirstLoad
from hubserve.package.onnx_runner import Device
from hubserve.package.package import Backend
from hubserve.store import StoredModel

log = logging.getLogger("hubserve.service")

AT_ONCE = 2
"""The number of processes that load versions at the same time; with two, one that never ends does not block the other."""

NICE = 5
"""Requests to the service come first."""

MOST_BYTES = 16 * 10**9
"""Largest file of a package: all are hashed before a version is loaded, for half an hour where one is a sparse file of 1 TB."""


class FirstLoads:
    """Loads each version that was never loaded in a process of its own, which may fail or hang without harm to the service.

    `may_load` starts that process, and returns False until it has ended well; ask again. At most `AT_ONCE` run at a time. A
    version that was loaded before needs none. Used by one thread.

    Args:
        backend: What runs the models.
        device: Device that was asked for.
        batches: Batch sizes that a version must run in its first load.
        memory_bytes: Largest memory of the process of a first load.
        seconds: Longest time of a first load.
    """

    def __init__(
        self, *, backend: Backend, device: Device, batches: Sequence[int], memory_bytes: float, seconds: float
    ) -> None:
        self._backend = backend
        self._device = device
        self._limits = {"batches": batches, "memory_bytes": memory_bytes, "seconds": seconds, "nice": NICE}
        self._running: dict[object, tuple[StoredModel, FirstLoad]] = {}

    def may_load(self, model: StoredModel) -> bool:
        """Whether a version may be loaded now; False while another process loads it for the first time, or is to.

        Raises:
            HubserveError: It cannot be loaded; the message says why.
        """
        key = model.tag, model.created
        if key in self._running:
            load = self._running[key][1]
            if not load.ended:
                return False
            del self._running[key]
            load.check()
            log.info("%s was loaded for the first time, in %.1f s", model.tag, time.monotonic() - load.started)
            return True
        for name, entry in model.package.manifest.files.items():
            if max(entry.bytes, (model.package.path / name).stat().st_size) > MOST_BYTES:
                raise LoadLimitError(f"{name} has more than {MOST_BYTES:,} bytes, the most that is read")
        if sum(not load.ended for _, load in self._running.values()) >= AT_ONCE:
            return False
        started = model.package.first_load(self._backend, device=self._device, **self._limits)
        if started is None:
            return True
        log.info("%s is loaded for the first time, in a process of its own", model.tag)
        self._running[key] = model, started
        return False

    def wait(self, model: StoredModel, seconds: float) -> bool:
        """Returns what `may_load` does, after waiting at most `seconds` until it is True. Raises what `may_load` raises."""
        end = time.monotonic() + seconds
        while not (found := self.may_load(model)) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def keep(self, models: Collection[StoredModel]) -> None:
        """Ends those of versions that are not in the store any more."""
        there = {(model.tag, model.created) for model in models}
        for key in [key for key in self._running if key not in there]:
            model, load = self._running.pop(key)
            load.kill()
            log.info("%s is not loaded any more: it was deleted", model.tag)

    def close(self) -> None:
        """Ends all of them."""
        self.keep(())
