"""`run_job` and `run_here`: run all phases of a job that its run folder does not have a result of yet."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from hubserve import jobs
from hubserve.data.own_images import Reading
from hubserve.data.parts import read_pinned
from hubserve.errors import DatasetError, JobError, MissingExtraError
from hubserve.jobs import Best, JobStatus, Run
from hubserve.package.package import Package
from hubserve.pipeline.fine_tuned_source import fine_tuned_source, labelled_parts, prepared_batches
from hubserve.pipeline.phases.choose_winner import Winner
from hubserve.pipeline.phases.export import export
from hubserve.pipeline.phases.profile import profile
from hubserve.pipeline.phases.publish import publish
from hubserve.pipeline.phases.search import search
from hubserve.pipeline.phases.test import test
from hubserve.pipeline.phases.train import train
from hubserve.pipeline.phases.tune import tune
from hubserve.pipeline.resolve import resolve_job
from hubserve.pipeline.resolve_fine_tuning import ResolvedFineTuning
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.search_source import comparison_images, search_source, tested_parts
from hubserve.pipeline.status_writer import Draw, StatusWriter
from hubserve.space.building_limit import limit_networks

PARTS = "parts.json"
"""File of a run folder with the part of each of the user's images."""

OnStatus = Callable[[JobStatus], None]


def run_here(run: Run, resolved: ResolvedJob | None = None, *, on_status: OnStatus = lambda status: None) -> JobStatus:
    """Runs a job in this process with `run_job`, draws plots, and returns the final status.

    The run is marked as running meanwhile, and SIGTERM raises `KeyboardInterrupt`. Must be called in the main thread.
    Arguments and errors are those of `run_job`; `JobError` is also raised if another process is running this run.
    """
    with jobs.hold(run), _sigterm_interrupts():
        return run_job(run, resolved, on_status=on_status, draw=find_draw())


def run_job(
    run: Run, resolved: ResolvedJob | None = None, *, on_status: OnStatus = lambda status: None, draw: Draw | None = None
) -> JobStatus:
    """Runs the remaining phases of a job, one after another, and returns the final status.

    Each phase writes its result to the run folder atomically, so that a killed job can be resumed and nothing is published
    twice. The caller must hold the lock of the run, `hubserve.jobs.hold`.

    Args:
        run: The run.
        resolved: The run's job, already resolved by the caller; None resolves it here; if that fails, the
            state of the run becomes "refused".
        on_status: Called with the status after each change.
        draw: Draws plots of the search into a folder, see `find_draw`; None draws none.

    Raises:
        JobError: The definition or the data cannot be used.
        NothingFeasibleError: No arch meets the constraints; nothing was published.
        HubserveError: A phase failed for another reason.
        KeyboardInterrupt: The job was stopped; it can continue.
    """
    status = StatusWriter(run, on_status, draw)
    with status.outcome():
        if resolved is None:
            resolved = _resolve(run, status)
        _pin_parts(resolved, run)
        status.set_job(resolved.job, resolved.notes)
        if isinstance(resolved, ResolvedFineTuning):
            status.took("check", resolved.parts.check_seconds)
        with limit_networks(modules=resolved.limits.modules, parameters=resolved.limits.parameters):
            _run_phases(resolved, run, status)
    return status.status


def _resolve(run: Run, status: StatusWriter) -> ResolvedJob:
    """The job of a run, with the parts of its data that were pinned when it began."""

    def advance(done: int, total: int) -> None:
        status.progress(f"checking images: {done:,} of {total:,}", share=done / total if total else None)

    job = jobs.parse_job(run.definition(), where=run.id)
    try:
        reading = Reading(read_pinned(run.path / PARTS), advance=advance)
    except DatasetError as error:
        raise JobError(f"data: {error}") from error
    return resolve_job(job, where=run.where, limits=run.limits, reading=reading)


def _pin_parts(resolved: ResolvedJob, run: Run) -> None:
    """Keeps which image is in which part, so that the run, when it goes on, is not tested on images that it trained on."""
    path = run.path / PARTS
    if resolved.scan is not None and not path.exists():
        shape = resolved.preprocess
        replace(resolved.scan.pinned(), size=shape.input_size, fit=shape.fit).write(path)


def _run_phases(resolved: ResolvedJob, run: Run, status: StatusWriter) -> None:
    if isinstance(resolved, ResolvedSearch):
        package = _search_phases(resolved, run, status)
    elif isinstance(resolved, ResolvedFineTuning):
        package = _fine_tuning_phases(resolved, run, status)
    else:
        raise JobError(f"{type(resolved).__name__} has no phases")
    package = profile(resolved, package, status.draw_plots(), status)
    status.write(published=publish(resolved, package, run, status))


def _search_phases(resolved: ResolvedSearch, run: Run, status: StatusWriter) -> Package:
    winner: Winner = search(resolved, run, status)
    status.write(best=Best(number=winner.number, values=winner.scores, arch=winner.arch))
    status.draw_plots()
    trained = train(resolved, winner, run, status)
    tested = test(trained.model, tested_parts(resolved), run, status)
    source = search_source(resolved, winner, trained, tested, run)
    return export(source, resolved.formats, lambda: comparison_images(resolved), run, status)


def _fine_tuning_phases(resolved: ResolvedFineTuning, run: Run, status: StatusWriter) -> Package:
    tuned = tune(resolved, run, status)
    tested = test(tuned.model, labelled_parts(resolved), run, status)
    source = fine_tuned_source(resolved, tuned, tested, run)
    return export(source, resolved.formats, lambda: prepared_batches(resolved.parts.val), run, status)


def find_draw() -> Draw | None:
    """Returns the function that draws plots, or None if the extra `plots` is not installed."""
    try:
        from hubserve.pipeline.plots import draw_all  # Imports matplotlib, which may be absent.
    except MissingExtraError:
        return None
    return draw_all


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A context in which SIGTERM, which is sent to stop a job, raises `KeyboardInterrupt`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
