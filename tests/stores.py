"""Model stores of one's own, processes that publish into them, and a service over one, all in this process's reach."""

from __future__ import annotations

import gc
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.synchronize import Barrier
from pathlib import Path

import bentoml.models  # noqa: F401 - BentoML would load it at the first publish, in each of the processes below
import uvicorn
from starlette.types import ASGIApp

from hubserve import store
from hubserve.export.write_package import write_package
from hubserve.package.package import Package
from hubserve.store.bentoml_store import BentoMLContainer, ModelStore
from tests.export.nets import small_source

_FOLDER = tempfile.TemporaryDirectory(prefix="hubserve.tests.")


_HOMES: list[Path] = []
"""Of the stores that are in use, the innermost last."""


@contextmanager
def store_at(home: Path) -> Iterator[Path]:
    """Inside, this process's store is the one under `home`, as BENTOML_HOME would make it before BentoML is imported."""
    for name in ("models", "tmp"):
        (home / name).mkdir(parents=True, exist_ok=True)
    _HOMES.append(home)
    _use(home)
    try:
        yield home
    finally:
        _HOMES.pop()
        _use(_HOMES[-1] if _HOMES else None)


def _use(home: Path | None) -> None:
    providers = (BentoMLContainer.model_store_dir, BentoMLContainer.tmp_bento_store_dir, BentoMLContainer.model_store)
    for provider in providers:
        provider.reset()
    if home is not None:
        values = (str(home / "models"), str(home / "tmp"), ModelStore(home / "models"))
        for provider, value in zip(providers, values, strict=True):
            provider.set(value)


@cache
def small_package() -> Package:
    """The small network of 7 classes, in every form; written once, so copy it before you change it."""
    return write_package(small_source(), Path(_FOLDER.name) / "small")


@cache
def tiny_package(seed: int = 0) -> Package:
    """Another one for each seed, named tiny, in TorchScript only, which is quick to write."""
    return write_package(small_source("tiny", seed), Path(_FOLDER.name) / f"tiny{seed}", formats=("torchscript",))


def files_of(home: Path) -> dict[str, bytes]:
    """Every file under `home` with its content; empty folders too, as ""."""
    return {str(p.relative_to(home)): p.read_bytes() if p.is_file() else b"" for p in sorted(home.rglob("*"))}


def publish_forever(home: Path, package: Path, prefix: str) -> None:
    """For a process that is to be killed: versions prefix0, prefix1, ... of one package."""
    with store_at(home):
        for i in range(10_000):
            store.publish(package, name="endless", version=f"{prefix}{i}")


def publish_in_step(home: Path, package: Path, barrier: Barrier, answers: Path, rounds: int) -> None:
    """For two processes: the same version of the same package at the same moment, `rounds` times; writes what came of each."""
    with store_at(home):
        said = [_publish(package, f"r{i}", before=barrier.wait) for i in range(rounds)]
    answers.write_text("\n".join(said))


def publish_with_little_disk(home: Path, package: Path, answers: Path, most_bytes: int) -> None:
    """For a process of its own: no file may grow over `most_bytes`, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    with store_at(home):
        said = _publish(package, "v1")
    answers.write_text(said)


def _publish(package: Path, version: str, before: Callable[[], object] = lambda: None) -> str:
    before()
    try:
        return store.publish(package, version=version).tag
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@contextmanager
def service_over(home: Path, bentoml: Callable[[ASGIApp], ASGIApp] | None = None) -> Iterator[str]:
    """The address of our routes over the store under `home`, served by a thread of this process.

    `bentoml` stands in for BentoML's application around them; there is none unless given.
    """
    from hubserve.service.api import build_api
    from hubserve.service.http_protocol import BoundedHttpProtocol
    from hubserve.service.middleware import ServiceMiddleware

    api = build_api()
    front = ServiceMiddleware(api, bentoml(api) if bentoml is not None else None)
    server = uvicorn.Server(uvicorn.Config(front, host="127.0.0.1", port=0, log_level="warning", http=BoundedHttpProtocol))
    with store_at(home):
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            deadline = time.monotonic() + 30
            while not server.started:
                assert thread.is_alive(), "the service did not start"
                assert time.monotonic() < deadline, "the service did not start in time"
                time.sleep(0.02)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            gc.unfreeze()  # The service expects to have the process for itself.


@contextmanager
def bento_with(models: Path) -> Iterator[None]:
    """Inside, the process is one that BentoML started for a bento with these models beside its code: only this changes."""
    before = BentoMLContainer.model_store.get()
    BentoMLContainer.model_store.set(ModelStore(models))
    try:
        yield
    finally:
        BentoMLContainer.model_store.set(before)
