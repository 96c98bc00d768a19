"""`ServiceState`: holds what all requests share, such as the loaded models, the queue of images, the limits and the exports."""

import gc
import logging
from contextlib import suppress
from functools import partial

from starlette.requests import Request

from hubserve.errors import ExportError, HubserveError
from hubserve.host import cores
from hubserve.package.package import Backend
from hubserve.package.text_tokenizer import TOKENIZER, TextTokenizer
from hubserve.service import metrics
from hubserve.service.awaited_request import AwaitedRequest
from hubserve.service.backend_choice import load_fastest
from hubserve.service.batch_queue import BatchQueue
from hubserve.service.concurrency_tuning import Concurrency, default_concurrency, fastest_concurrency
from hubserve.service.definition_checker import DefinitionChecker
from hubserve.service.engine import Engine
from hubserve.service.exports import Exports
from hubserve.service.first_loads import FirstLoads
from hubserve.service.graceful_shutdown import GracefulShutdown
from hubserve.service.host_check import HostCheck
from hubserve.service.job_and_export_limits import export_limits
from hubserve.service.kept_measurements import model_key
from hubserve.service.live_models import LiveModels
from hubserve.service.local_cards import LocalCards
from hubserve.service.model_details import ModelDetails
from hubserve.service.model_runs import ModelRuns
from hubserve.service.name_resolution import DEFAULT, NameResolver
from hubserve.service.prediction_log import PredictionLog
from hubserve.service.request_body import RequestBodyReader
from hubserve.service.run_observer import RunObserver
from hubserve.service.settings import ServiceSettings
from hubserve.service.tensor_engine import TensorEngine
from hubserve.service.text_engine import AnyEngine, TextEngine
from hubserve.service.tracing import Tracing
from hubserve.store import StoredModel

log = logging.getLogger("hubserve.service")

START_SECONDS = 10.0
"""Seconds that the start of the service waits for a model's first load. After that it starts, and reports it is not ready."""

USUAL_BATCH = 8
"""Largest batch that a first load must run if the setting `max_batch` is not set: the largest one that is measured."""


class ServiceState:
    """The state of the service, which all routes use as `app.state.shared`.

    The constructor first chooses the numbers of threads and the batch size. Those that are not set are measured on the default
    model, or read from the file of an earlier measurement; if it is no image classifier, they have their defaults. Then the
    default model is loaded. If that fails or takes longer than `START_SECONDS`, a warning is logged, and the service is not
    ready.

    Args:
        settings: Settings of the service.

    Attributes:
        settings: Settings of the service.
        shutdown: Delays the shutdown, and says whether the server is shutting down.
        exports: Starts exports and reads their states.
        details: Size, drawing and latency of stored models.
        local_cards: Pre-searched models whose weights are on this machine.
        checker: Checks jobs and exports before they are started.
        body_reader: Reads the bodies of requests within the limits.
        hosts: Checks the header Host of requests.
        resolver: The store and the aliases, as they were when they were last read.
        queue: The images that wait, and the threads that classify them.
        live_models: The models that are loaded.
        runs: Runs models on the images, texts and tensors of requests.
        tracing: The spans of requests; None if they are not traced.

    Raises:
        OutputError: No folder can serve as HUBSERVE_HOME, or the one for the log of predictions cannot be written.
        MissingExtraError: Requests should be traced, and OpenTelemetry's exporter is not installed.
        OSError: A file of the default model cannot be read, or its first load cannot be started.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.shutdown = GracefulShutdown(settings.drain_seconds)
        self.exports = Exports(settings.max_exports, export_limits(settings))
        self.details = ModelDetails()
        self.local_cards = LocalCards()
        self.checker = DefinitionChecker()
        self.body_reader = RequestBodyReader(
            max_bytes=int(settings.max_body_mb * 1e6),
            max_pending_bytes=int(settings.max_pending_mb * 1e6),
            seconds=settings.body_seconds,
        )
        self.hosts = HostCheck(settings.allowed_hosts)
        self.resolver = NameResolver(settings.model)
        self._first_loads = FirstLoads(
            backend=settings.first_backend,
            device=settings.device,
            batches=(1, settings.max_batch or USUAL_BATCH),
            memory_bytes=settings.model_memory_mb * 1e6,
            seconds=settings.load_seconds,
        )
        self.tracing = Tracing(settings.tracing) if settings.tracing else None
        predictions = PredictionLog(settings.prediction_log, settings) if settings.prediction_log else None
        self._observer = RunObserver(self.tracing, predictions)
        self._concurrency = self._choose_concurrency()
        self.queue = BatchQueue(
            threads=self._concurrency.threads,
            max_batch=self._concurrency.max_batch,
            max_waiting=settings.max_waiting,
            max_waiting_pixels=int(settings.max_waiting_megapixels * 1e6),
            max_pixels=int(settings.max_megapixels * 1e6),
            on_batch=self._observer.note_batch,
            on_drop=lambda step: metrics.DROPPED.labels(step).inc(),
        )
        self.live_models = LiveModels(
            self.resolver,
            self._load,
            seconds=settings.resolve_seconds,
            memory_bytes=settings.model_memory_mb * 1e6,
            first_loads=self._first_loads,
            on_refusal=lambda model: metrics.REFUSED_VERSIONS.labels(model.name).inc(),
            on_memory=metrics.LOADED.set,
        )
        self.runs = ModelRuns(self.live_models, self.queue, self._observer)
        self._load_default()

    def find_model(self, name: str) -> StoredModel:
        """Returns the version that a name, tag or alias stands for now; for an alias with a canary, the version without it.

        Raises:
            ModelNotFoundError: The store has no such model; the message has similar names.
            StoreError: No such model is known, and the store could not be read the last time; `StorageError` if access was
                denied.
        """
        return self.resolver.traffic_shares(name)[0].versions[0]

    def awaited(self, request: Request) -> AwaitedRequest:
        """Returns a context manager that cancels its block if the client disconnects or `answer_seconds` are over."""
        return AwaitedRequest(request, self.settings.answer_seconds)

    async def why_not_ready(self) -> tuple[str, str] | None:
        """Returns why this server cannot classify now, as a short name and a sentence; None if the default model is loaded.

        Waits at most a second for that model.
        """
        if self.shutdown.started:
            return "Draining", "this server is about to end"
        try:
            if await self.live_models.get_soon() is not None:
                return None
        except HubserveError as error:
            return type(error).__name__, str(error)
        loads = (f"{tag} since {seconds:.0f} s" for tag, seconds in self.live_models.first_loads.items())
        return "Loading", f"no model is ready yet; loaded for the first time: {', '.join(loads) or 'none'}"

    def close(self) -> None:
        """Ends all threads and all first loads. The images in the queue are classified before, but for at most 10 s.

        Predictions that wait are written, and spans sent, as `RunObserver.close` does.
        """
        self.queue.close()
        self.live_models.close()
        self._first_loads.close()
        self._observer.close()

    def _load_default(self) -> None:
        """Loads the default model, waiting at most `START_SECONDS`. Logs a warning if it cannot be loaded in that time.

        Then it exempts all objects that exist from garbage collection.
        """
        try:
            served = self.live_models.ask(DEFAULT).result(START_SECONDS)
        except TimeoutError:
            log.warning("no model is ready yet: the first load has not ended")
        except HubserveError as error:
            log.warning("no model is ready yet: %s", error)
        else:
            log.info("%s answers on %s, by %s", served.tag, served.engine.device, self._concurrency)
        # The imports leave many objects that live as long as the process; a collection that walks them delays answers.
        gc.collect()
        gc.freeze()

    def _load(self, model: StoredModel) -> AnyEngine:
        """Returns the engine of a version after running the smallest and the largest batch."""
        threads = self._concurrency.session_threads
        images = model.package.manifest.classifies_images
        engine = self._image_engine(model, threads) if images else self._tensor_engine(model, threads)
        engine.warm_up((1, self._concurrency.max_batch))
        return engine

    def _image_engine(self, model: StoredModel, session_threads: int) -> Engine:
        """Returns the engine of an image classifier with the backend that is set, or with the faster one."""
        if (settings := self.settings).backend != "auto":
            return self._engine(model, session_threads, settings.first_backend)
        key, load = model_key(model.package.manifest), partial(self._engine, model, session_threads)
        return load_fastest(key, load, self._concurrency, device=settings.device)

    def _tensor_engine(self, model: StoredModel, session_threads: int) -> TensorEngine | TextEngine:
        """Returns the engine of a version that is no image classifier, each of whose calls uses `session_threads` cores.

        It is a TextEngine if the version is a text classifier with a tokenizer, else a TensorEngine.
        """
        settings, manifest = self.settings, model.package.manifest
        engine = TensorEngine(
            model.package,
            backend=settings.first_backend,
            device=settings.device,
            threads=session_threads,
            seconds=settings.answer_seconds,
        )
        # Without a tokenizer, a text classifier is served by its token ids alone.
        if not manifest.classifies_texts or TOKENIZER not in manifest.files:
            return engine
        return TextEngine(engine, TextTokenizer.read(model.path, manifest.text_input))

    def _engine(self, model: StoredModel, session_threads: int, backend: Backend) -> Engine:
        """Returns the engine of a version with a backend, each of whose calls uses `session_threads` cores."""
        settings = self.settings
        return Engine(
            model.package,
            backend=backend,
            device=settings.device,
            threads=session_threads,
            callers=settings.threads or max(1, cores() // session_threads),
            max_pixels=int(settings.max_megapixels * 1e6),
            seconds=settings.answer_seconds,
        )

    def _choose_concurrency(self) -> Concurrency:
        """Returns the numbers of threads and the batch size: as set, or else measured on the default model.

        If there is no model yet, it is no image classifier, it cannot be measured, or its first load takes longer than
        `START_SECONDS`, what is not set has its default. What is set does not change which candidates are measured.

        Raises:
            OSError: A file of the model cannot be read, or its first load cannot be started.
        """
        settings = self.settings
        given = {name: getattr(settings, name) for name in ("threads", "session_threads", "max_batch")}
        fixed = {name: value for name, value in given.items() if value is not None}
        if len(fixed) == len(given):
            return Concurrency(**fixed)
        way = default_concurrency("cpu")
        with suppress(HubserveError):
            self.resolver.refresh()
            for model in self.resolver.traffic_shares(DEFAULT)[0].versions[:1]:
                if model.package.manifest.classifies_images and self._first_loads.wait(model, START_SECONDS):
                    way = self._measured(model)
        return way.model_copy(update=fixed)

    def _measured(self, model: StoredModel) -> Concurrency:
        """Returns the fastest numbers of threads and batch size for a model, as `fastest_concurrency` does.

        Raises:
            ExportError: The model cannot be loaded with one core for each thread.
        """
        backend = self.settings.first_backend
        try:
            first = self._engine(model, 1, backend)
        except (HubserveError, OSError) as error:
            raise ExportError(f"{model.tag} cannot be measured: {error}") from error
        key, load = f"{model_key(first.manifest)} by {backend}", partial(self._engine, model, backend=backend)
        return fastest_concurrency(key, lambda count: first if count == 1 else load(count), device=first.device)
