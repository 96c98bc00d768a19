"""`run_job` and `run_here`: run all phases of a job that its run folder does not have a result of yet."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hubserve import jobs
from hubserve.errors import JobError, MissingExtraError
from hubserve.jobs import Best, JobStatus, Run
from hubserve.package.package import Package
from hubserve.pipeline.compared_networks import compare_networks, finish_network, networks_to_compare, publish_front
from hubserve.pipeline.fine_tuned_source import fine_tuned_source, labelled_parts, prepared_batches
from hubserve.pipeline.phases.choose_shrunk_network import FoundNetwork, find_network, found_job
from hubserve.pipeline.phases.choose_winner import Winner
from hubserve.pipeline.phases.export import export
from hubserve.pipeline.phases.measure_limit import measure_limit
from hubserve.pipeline.phases.profile import profile
from hubserve.pipeline.phases.publish import publish
from hubserve.pipeline.phases.search import search
from hubserve.pipeline.phases.test import test
from hubserve.pipeline.phases.train_start import train_start
from hubserve.pipeline.phases.tune import tune
from hubserve.pipeline.pinned_data import pin_data, reading_of
from hubserve.pipeline.resolve import resolve_job
from hubserve.pipeline.resolve_fine_tuning import ResolvedFineTuning
from hubserve.pipeline.resolve_shrinking import ResolvedShrinking
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.status_writer import Draw, StatusWriter
from hubserve.space.building_limit import limit_networks

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
        resolved: The run's job, already resolved by the caller; None resolves it here. If that fails with a `HubserveError`,
            the state of the run becomes "refused".
        on_status: Called with the status after each change.
        draw: Draws plots of the search into a folder, see `find_draw`; None draws none.

    Raises:
        JobError: The definition or the data cannot be used.
        NothingFeasibleError: No arch meets the constraints; nothing was published.
        StorageError: A disk is full, read-only or forbidden; the job can continue.
        HubserveError: A phase failed for another reason. Exceptions of other libraries are passed on.
        KeyboardInterrupt: The job was stopped; it can continue.
    """
    status = StatusWriter(run, on_status, draw)
    with status.outcome():
        if resolved is None:
            resolved = _resolve(run, status)
        pin_data(resolved, run)
        status.set_job(resolved.job, resolved.notes)
        if isinstance(resolved, ResolvedFineTuning):
            status.took("check", resolved.parts.check_seconds)
        with limit_networks(modules=resolved.limits.modules, parameters=resolved.limits.parameters):
            _run_phases(resolved, run, status)
    return status.status


def _resolve(run: Run, status: StatusWriter) -> ResolvedJob:
    """Resolves the job of a run, with the parts of its data that were pinned when it began, and returns it."""

    def advance(done: int, total: int) -> None:
        status.progress(f"checking images: {done:,} of {total:,}", share=done / total if total else None)

    job = jobs.parse_job(run.definition(), where=run.id)
    return resolve_job(job, where=run.where, limits=run.limits, reading=reading_of(run, advance))


def _run_phases(resolved: ResolvedJob, run: Run, status: StatusWriter) -> None:
    if isinstance(resolved, ResolvedSearch):
        _search_phases(resolved, run, status)
        return
    if isinstance(resolved, ResolvedShrinking):
        package = _shrinking_phases(resolved, run, status)
    elif isinstance(resolved, ResolvedFineTuning):
        package = _fine_tuning_phases(resolved, run, status)
    else:
        raise JobError(f"{type(resolved).__name__} has no phases")
    package = profile(resolved, package, status.draw_plots(), status)
    status.write(published=publish(resolved, package, run, status))


def _search_phases(resolved: ResolvedSearch, run: Run, status: StatusWriter) -> None:
    winner: Winner = search(resolved, run, status)
    status.write(best=Best(number=winner.number, values=winner.scores, arch=winner.arch))
    status.draw_plots()
    tested, package = finish_network(resolved, winner, run, status)
    status.write(test_acc=tested.test_acc, test_scores=dict(tested.scores), accuracy=tested.accuracy)
    package = profile(resolved, package, [], status)
    networks = networks_to_compare(resolved, winner, run, status)
    packages = compare_networks(networks, (winner, tested, package), resolved, run, status)
    plots = status.draw_plots()
    package = profile(resolved, package, plots, status)
    status.write(published=publish(resolved, package, run, status))
    publish_front(networks, packages, plots, status)


def _shrinking_phases(resolved: ResolvedShrinking, run: Run, status: StatusWriter) -> Package:
    latency = measure_limit(resolved, run, status)
    train_start(resolved, run, status)
    found = find_network(resolved, latency, run, status)
    status.write(best=Best(number=found.number, values=found.scores, arch=found.arch))
    return _fine_tuning_phases(found_job(resolved, found, run), run, status, found)


def _fine_tuning_phases(
    resolved: ResolvedFineTuning, run: Run, status: StatusWriter, found: FoundNetwork | None = None
) -> Package:
    """Trains, tests and exports the job's model, or the network that was `found` in it."""
    tuned = tune(resolved, run, status)
    tested = test(tuned.model, labelled_parts(resolved), run, status)
    status.write(test_acc=tested.test_acc, accuracy=tested.accuracy)
    source = fine_tuned_source(resolved, tuned, tested, run, None if found is None else found.facts())
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
    """Context manager in whose block SIGTERM, which is sent to stop a job, raises `KeyboardInterrupt`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
