"""What requests share: the models, the threads that run them, and the limits."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from hubserve.errors import ExportError, HubserveError, LateAnswerError
from hubserve.host import cores
from hubserve.package.runner import Batch
from hubserve.service import metrics
from hubserve.service.concurrency import Way, best_way, usual_way
from hubserve.service.engine import Answer, Engine
from hubserve.service.graceful_shutdown import GracefulShutdown
from hubserve.service.live_models import LiveModels, LoadedModel
from hubserve.service.name_resolution import DEFAULT, NameResolver
from hubserve.service.pool import Pool
from hubserve.service.request_body import RequestBodyReader
from hubserve.service.settings import ServiceSettings
from hubserve.store import StoredModel

log = logging.getLogger("hubserve.service")

Outcome = tuple[str, Answer] | BaseException
"""Of one picture: the tag that answered with its answer, or what was wrong."""


class ServiceState:
    """See the module. Making one measures the machine, where that was not done before, and loads the default model.

    Args:
        settings: of the service.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.shutdown = GracefulShutdown(settings.drain_seconds)
        self.body_reader = RequestBodyReader(
            max_bytes=int(settings.max_body_mb * 1e6),
            max_pending_bytes=int(settings.max_pending_mb * 1e6),
            seconds=settings.body_seconds,
        )
        resolver = NameResolver(settings.model)
        self.way = self._chosen_way(resolver)
        self.pool = Pool(
            threads=self.way.threads,
            max_batch=self.way.max_batch,
            max_waiting=settings.max_waiting,
            on_batch=metrics.BATCHES.observe,
        )
        self.live_models = LiveModels(
            resolver,
            self._load,
            seconds=settings.resolve_seconds,
            memory_bytes=settings.model_memory_mb * 1e6,
            on_refusal=lambda model: metrics.REFUSED_VERSIONS.labels(model.name).inc(),
            on_memory=metrics.LOADED.set,
        )
        self._load_default()

    async def classify(self, name: str | None, pictures: Sequence[bytes | Batch], top_k: int | None) -> list[Outcome]:
        """One outcome a picture.

        Raises:
            OverloadedError: before any of them is looked at.
            ModelNotFoundError: the store has no such model.
            ModelRefusedError: it has, but no version of it can be loaded.
        """
        served = await self.live_models.get(name or DEFAULT)
        answers = await self.run(served, pictures, top_k)
        return [answer if isinstance(answer, BaseException) else (served.tag, answer) for answer in answers]

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Around all that a request waits for, once its body is there. What did not begin by the end is not begun.

        Raises:
            LateAnswerError: it takes longer than it may.
        """
        seconds = self.settings.answer_seconds
        try:
            async with asyncio.timeout(seconds) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise LateAnswerError(
                f"not classified within {seconds:g} s; ask again later, or with fewer or smaller pictures at once"
            ) from error

    async def run(
        self, served: LoadedModel, pictures: Sequence[bytes | Batch], top_k: int | None
    ) -> list[Answer | BaseException]:
        """Likewise, for a version that was found already. Raises OverloadedError."""
        submitted = self.pool.submit(served.engine, pictures, top_k)
        return await asyncio.gather(*map(asyncio.wrap_future, submitted), return_exceptions=True)

    async def why_not_ready(self) -> tuple[str, str] | None:
        """Kind and description of what keeps this server from classifying; None where nothing does."""
        if self.shutdown.started:
            return "Draining", "this server is about to end"
        try:
            await self.live_models.get()
        except HubserveError as error:
            return type(error).__name__, str(error)
        return None

    def close(self) -> None:
        """Answers what waits, and ends all threads."""
        self.pool.close()
        self.live_models.close()

    def _load_default(self) -> None:
        try:
            served = self.live_models.ask(DEFAULT).result()
        except HubserveError as error:
            log.warning("no model is ready yet: %s", error)
        else:
            log.info("%s answers on %s, by %s", served.tag, served.engine.device, self.way)
        # torch leaves a million objects that live as long as the process; walking them is what makes the slowest answers.
        gc.collect()
        gc.freeze()

    def _load(self, model: StoredModel) -> Engine:
        engine = self._engine(model, self.way.session_threads)
        engine.warm_up((1, self.way.max_batch))
        return engine

    def _engine(self, model: StoredModel, session_threads: int) -> Engine:
        settings = self.settings
        return Engine(
            model.package,
            backend=settings.backend,
            device=settings.device,
            threads=session_threads,
            callers=settings.threads or max(1, cores() // session_threads),
            max_pixels=int(settings.max_megapixels * 1e6),
        )

    def _chosen_way(self, resolver: NameResolver) -> Way:
        """As set; what is not set is measured on the default model, or usual where there is none yet."""
        settings = self.settings
        given = {name: getattr(settings, name) for name in ("threads", "session_threads", "max_batch")}
        fixed = {name: value for name, value in given.items() if value is not None}
        if len(fixed) == len(given):
            return Way(**fixed)
        way = usual_way("cpu")
        with suppress(HubserveError):
            resolver.refresh()
            for model in resolver.traffic_shares(DEFAULT)[0].versions[:1]:
                way = self._measured(model)
        return way.model_copy(update=fixed)

    def _measured(self, model: StoredModel) -> Way:
        try:
            first = self._engine(model, 1)
        except (HubserveError, OSError) as error:
            raise ExportError(f"{model.tag} cannot be measured: {error}") from error
        weights = first.manifest.files["weights.safetensors"].sha256[:16]
        key = f"{first.manifest.name} {weights} by {self.settings.backend}"
        return best_way(key, lambda count: first if count == 1 else self._engine(model, count), device=first.device)
