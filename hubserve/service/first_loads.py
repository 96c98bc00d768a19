"""`FirstLoads`: loads versions of the store that were never loaded before in processes of their own, while others answer."""

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
"""Largest number of processes of first loads at once. With two, one that never ends does not block the others."""

NICE = 5
"""Niceness (`os.nice`) of the processes of first loads, so that requests to the service get the processor first."""

MOST_BYTES = 16 * 10**9
"""Largest file of a package, in bytes. All files are hashed before a version is loaded, which takes half an hour for 1 TB."""


class FirstLoads:
    """Loads each new version for the first time in another process, which may fail or hang without harm to the service.

    `may_load` starts that process and returns False until it has ended successfully, so it is called again and again. At most
    `AT_ONCE` processes run at once. A version that was loaded before on this machine needs none. All methods must be called in
    one thread.

    Args:
        backend: What runs the models: a format, or "openvino".
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        batches: Batch sizes that a version must run in its first load.
        memory_bytes: Largest memory in bytes of the process of a first load.
        seconds: Time in seconds after which the process of a first load is killed.
    """

    def __init__(
        self, *, backend: Backend, device: Device, batches: Sequence[int], memory_bytes: float, seconds: float
    ) -> None:
        self._backend = backend
        self._device = device
        self._limits = {"batches": batches, "memory_bytes": memory_bytes, "seconds": seconds, "nice": NICE}
        self._running: dict[object, tuple[StoredModel, FirstLoad]] = {}

    def may_load(self, model: StoredModel) -> bool:
        """Returns whether a version may now be loaded in this process; False if its first load has not ended or must wait.

        Starts the first load if the version needs one. After an exception, the next call starts it again.

        Raises:
            HubserveError: The version cannot be loaded: its first load failed or exceeded a limit, or its package is wrong.
            OSError: A file of the package cannot be read, or the process of the first load cannot be started.
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
        """Waits at most `seconds` until `may_load` returns True. Returns its last result, and raises what it raises."""
        end = time.monotonic() + seconds
        while not (found := self.may_load(model)) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def keep(self, models: Collection[StoredModel]) -> None:
        """Kills the processes that load versions for the first time, except those of `models`.

        Args:
            models: The versions that are in the store.
        """
        there = {(model.tag, model.created) for model in models}
        for key in [key for key in self._running if key not in there]:
            model, load = self._running.pop(key)
            load.kill()
            log.info("%s is not loaded any more: it was deleted", model.tag)

    def close(self) -> None:
        """Kills all processes that load versions for the first time."""
        self.keep(())
