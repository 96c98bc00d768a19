"""Runs a job from where it is to its end: search, train, test, export, profile, publish."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hubserve import jobs
from hubserve.data.own_images import Reading
from hubserve.data.parts import read_pinned
from hubserve.errors import DatasetError, JobError, MissingExtraError
from hubserve.jobs import Best, JobStatus, Run
from hubserve.pipeline.phases.choose_winner import Winner
from hubserve.pipeline.phases.export import export
from hubserve.pipeline.phases.profile import profile
from hubserve.pipeline.phases.publish import publish
from hubserve.pipeline.phases.search import search
from hubserve.pipeline.phases.test import test
from hubserve.pipeline.phases.train import train
from hubserve.pipeline.resolve import resolve_job
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.status_writer import Draw, StatusWriter
from hubserve.space.building_limit import limit_networks

PARTS = "parts.json"
"""File of a run folder with the part of each of the user's images."""

OnStatus = Callable[[JobStatus], None]


def run_here(run: Run, resolved: ResolvedJob | None = None, *, on_status: OnStatus = lambda status: None) -> JobStatus:
    """Runs a job in this process: `run_job` with plots; the run is marked as running, and SIGTERM acts as Ctrl-C.

    It must be called in the main thread. Arguments and errors are those of `run_job`; JobError also if another process works
    on this run.
    """
    with jobs.hold(run), _sigterm_interrupts():
        return run_job(run, resolved, on_status=on_status, draw=find_draw())


def run_job(
    run: Run, resolved: ResolvedJob | None = None, *, on_status: OnStatus = lambda status: None, draw: Draw | None = None
) -> JobStatus:
    """Does what is left to do of a job, phase by phase.

    Each phase leaves its result in the run folder in one step, so a killed job continues where it was, and nothing is
    published twice. The caller holds the run, see `hubserve.jobs.hold`.

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
        with limit_networks(modules=resolved.limits.modules, parameters=resolved.limits.parameters):
            _run_phases(resolved, run, status)
    return status.status


def _resolve(run: Run, status: StatusWriter) -> ResolvedJob:
    """The job of a run, with the parts of its data that were pinned when it began."""

    def advance(done: int, total: int) -> None:
        status.progress(f"checking images: {done:,} of {total:,}")

    job = jobs.parse_job(run.definition(), where=run.id)
    try:
        reading = Reading(read_pinned(run.path / PARTS), advance=advance)
    except DatasetError as error:
        raise JobError(f"data: {error}") from error
    return resolve_job(job, where=run.where, limits=run.limits, reading=reading)


def _pin_parts(resolved: ResolvedJob, run: Run) -> None:
    """Keeps which image is in which part, so that the run, when it goes on, is not tested on images that it trained on."""
    scan, path = resolved.data.scan, run.path / PARTS
    if scan is not None and not path.exists():
        scan.pinned().write(path)


def _run_phases(resolved: ResolvedJob, run: Run, status: StatusWriter) -> None:
    winner: Winner = search(resolved, run, status)
    status.write(best=Best(number=winner.number, values=winner.scores, arch=winner.arch))
    plots = status.draw_plots()
    trained = train(resolved, winner, run, status)
    test_acc = test(resolved, trained, run, status)
    package = export(resolved, winner, trained, test_acc, run, status)
    package = profile(resolved, package, plots, status)
    status.write(published=publish(resolved, package, run, status))


def find_draw() -> Draw | None:
    """The function that draws plots; None if the extra `plots` is not installed."""
    try:
        from hubserve.pipeline.plots import draw_all  # Imports matplotlib, which may be absent.
    except MissingExtraError:
        return None
    return draw_all


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM, which stops a job, raises KeyboardInterrupt as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
