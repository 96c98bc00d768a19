"""`RayExecutor`, which runs trials on a Ray cluster: a running one, or one that it starts on this machine.

Importing this module raises ExperimentError if Ray is not installed.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle

from hubserve.atomic import STAGED_VARIABLE
from hubserve.errors import ExperimentError
from hubserve.experiment.executors import described
from hubserve.experiment.process_executor import packed
from hubserve.experiment.ray_nodes import again_elsewhere, machines_without
from hubserve.host import cores

try:
    import ray
    from ray import _raylet
    from ray._private import ray_constants
except ImportError as missing:
    raise ExperimentError("Ray is not installed: pip install 'hubserve[ray]'") from missing

T = TypeVar("T")

MAX_SCRATCH = 30
"""Largest length of the path of a temporary folder for Ray; the paths of its sockets may have 107 characters."""


class RayExecutor(contextlib.AbstractContextManager["RayExecutor"]):
    """Runs functions as Ray tasks; shared values are in Ray's object store, once for each machine.

    If Ray is running already (`ray.init` was called, `address` is given, or RAY_ADDRESS is set, as `ray job submit` does), that
    cluster is used and left running. Otherwise a cluster is started on this machine and shut down afterwards. All its ports are
    on the loopback address and need a token that only this process and its workers have, and it has no dashboard. Code of
    scripts and notebooks is pickled by value; modules must be importable on the cluster, see Ray's `runtime_env`.

    The machines need not share a file system: what a trial writes into its folder, such as its weights, comes back through
    Ray's object store. With a pruner, the storage of the study must be a URL, or a file that all machines can open; otherwise
    the experiment is refused before its first trial. If Ray loses a machine, what ran there begins again on another one, until
    three were lost under the same trial, which then fails.

    Args:
        workers: Number of trials that run at once, at least 1; None is the number for which the cluster has resources.
        cpus_per_trial: Number of cores that Ray reserves for each trial, at least 0.
        gpus_per_trial: Number of GPUs, or a fraction of one, that Ray reserves for each trial, at least 0.
        address: Address of a running cluster; "auto" finds one on this machine, "local" starts one. None uses RAY_ADDRESS if it
            is set, else starts one.
        needs: Files and folders that trials read, such as that of the images, as absolute paths. Each machine that the cluster
            has at the start must have them under the same paths.

    Attributes:
        other_machines: True if the cluster is not one that this executor started on this machine; False before it is started.

    Raises:
        ExperimentError: A number is out of its range, or (when started) the cluster has too few resources for one trial, or a
            machine lacks one of `needs`.
    """

    shares_memory = False
    other_machines = False

    def __init__(
        self,
        workers: int | None = None,
        *,
        cpus_per_trial: float = 1,
        gpus_per_trial: float = 0,
        address: str | None = None,
        needs: Sequence[Path] = (),
    ) -> None:
        if (workers is not None and workers < 1) or cpus_per_trial < 0 or gpus_per_trial < 0:
            raise ExperimentError(
                f"workers = {workers}, cpus_per_trial = {cpus_per_trial}, gpus_per_trial = {gpus_per_trial}: at least 1, 0, 0"
            )
        self.workers = workers or 1
        self._asked = workers
        self._resources = {"num_cpus": cpus_per_trial, "num_gpus": gpus_per_trial}
        self._address = address
        self._needs = tuple(needs)
        self._ours = False
        self._run: Any = None

    def __enter__(self) -> RayExecutor:
        if not ray.is_initialized():
            self._start()
        self.other_machines = not self._ours
        # A lost worker is a failed trial, not one that silently runs again.
        self._run = ray.remote(_run).options(**self._resources, max_retries=0)
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        wanted = {"CPU": self._resources["num_cpus"], "GPU": self._resources["num_gpus"]}
        capacity = min((int(there.get(name, 0) / amount) for name, amount in wanted.items() if amount > 0), default=1)
        if capacity < 1:
            self.__exit__()
            raise ExperimentError(f"the cluster has too few resources for a trial of {self._resources}; it has {there}")
        self.workers = capacity if self._asked is None else self._asked
        if self.other_machines and (missing := self.machines_without(self._needs)):
            self.__exit__()
            raise ExperimentError(
                f"{described(missing)}: trials read it. Copy it to the same path on each machine, or put it on a file "
                "system that they share"
            )
        return self

    def __exit__(self, *exception: object) -> None:
        self._run = None
        if self._ours:
            ray.shutdown()
            self._ours = False

    def share(self, value: Any) -> Any:
        """Puts `value` into the object store and returns a reference to it.

        Raises:
            ExperimentError: `value` cannot be pickled.
        """
        return Reference(ray.put(packed(value)))

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Runs `function(*args)` as a Ray task and returns its future without waiting for free resources.

        If the machine of the task is lost, the task begins again on another one, see `RayExecutor`. The future raises the error
        of the function, an error of Ray if the task's process dies, or ExperimentError if the executor is not started.

        Raises:
            ExperimentError: The function cannot be pickled.
        """
        call = packed(function)
        return again_elsewhere(lambda: self._attempt(call, args))

    def machines_without(self, paths: Sequence[Path]) -> dict[str, list[Path]]:
        """Returns the paths that a machine of the cluster lacks now, by its name and address, for those that lack any."""
        return machines_without(paths) if paths else {}

    def _attempt(self, call: bytes, args: tuple[Any, ...]) -> Future[Any]:
        if self._run is None:
            raise ExperimentError("the RayExecutor is not started: use it as `with RayExecutor() as executor`")
        future: Future[Any] = self._run.remote(call, *args).future()
        return future

    def _start(self) -> None:
        if self._address != "local" and (self._address is not None or os.environ.get("RAY_ADDRESS")):
            # Without an address Ray takes that of the variable. It refuses num_cpus for a cluster that runs.
            ray.init(address=self._address, logging_level=logging.ERROR)
            return
        _only_this_machine()
        with _unusable_proxy() as own_proxies:
            ray.init(
                # Otherwise Ray looks for a cluster that runs on this machine.
                address="local",
                num_cpus=self._asked or cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": own_proxies},
                _node_ip_address="127.0.0.1",
                _temp_dir=_short_scratch(),
            )
        self._ours = True


PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")


@contextlib.contextmanager
def _unusable_proxy() -> Iterator[dict[str, str]]:
    """Context manager that sets a proxy which refuses all connections, for use while Ray starts; yields the original values.

    Ray's dashboard process, which cannot be left out, sends requests to the metadata services of three cloud providers through
    the proxy of its environment, even if usage reports and the dashboard are switched off. The original values are for the
    trials; a variable that is not set is yielded as "".
    """
    own = {name: os.environ.get(name) for name in PROXY_VARIABLES}
    os.environ.update(dict.fromkeys(PROXY_VARIABLES, "http://127.0.0.1:9"))
    try:
        yield {name: value or "" for name, value in own.items()}
    finally:
        for name, value in own.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _only_this_machine() -> None:
    """Configures Ray, before it is started, to listen only on the loopback address and to require a token of this process."""
    # Ray replaces 127.0.0.1 by an address that other machines reach, but unless it may not join clusters of several
    # machines. It reads the variable when it is imported, so this process needs the attribute too, the ones it starts do not.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    # Ray from 2.52 on; earlier ones have no authentication.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # The mode was read when Ray was imported, the token (or that there is none) when this process first used a cluster.
    _raylet.Config.initialize("")  # type: ignore[attr-defined]
    if hasattr(_raylet, "AuthenticationTokenLoader"):
        _raylet.AuthenticationTokenLoader.instance().reset_cache()


def _short_scratch() -> str | None:
    """Returns a folder for Ray's files that is removed together with a job's files; None lets Ray choose.

    It is None outside of a job, or if the paths of Ray's sockets would be too long.
    """
    folder = tempfile.gettempdir()
    return os.path.join(folder, "ray") if STAGED_VARIABLE in os.environ and len(folder) <= MAX_SCRATCH else None


@dataclass(frozen=True)
class Reference:
    """A reference to a value in the object store, for use as an argument; a worker reads the value once for all its tasks.

    Attributes:
        ref: Ray's reference to the pickled value.
    """

    ref: Any


def _run(function: bytes, *args: Any) -> Any:
    call = cloudpickle.loads(function)
    return call(*(_read(arg) if isinstance(arg, Reference) else arg for arg in args))


@functools.lru_cache(maxsize=8)
def _read(reference: Reference) -> Any:
    return cloudpickle.loads(ray.get(reference.ref))
