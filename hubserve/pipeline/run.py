"""Runs a job from where it is to its end: search, retrain, judge, export, profile, publish."""

from __future__ import annotations

from collections.abc import Callable

from hubserve.jobs import JobStatus, Run, parse_job
from hubserve.pipeline.finish import export, illustrate, profile, publish, retrain
from hubserve.pipeline.resolve import check_job
from hubserve.pipeline.search import search
from hubserve.pipeline.status_writer import Draw, Report


def run_job(run: Run, *, on_status: Callable[[JobStatus], None] = lambda status: None, draw: Draw | None = None) -> JobStatus:
    """Does what is left to do of a job, phase by phase.

    Each phase leaves its result in the run folder in one step, so a job that was killed goes on where it was, and what was
    published is not published twice. The caller holds the run, see `hubserve.jobs.hold`.

    Args:
        run: its folder.
        on_status: told of each change.
        draw: draws pictures of the search into a folder; see `hubserve.pipeline.plots`. None draws none.

    Raises:
        JobError: the job is wrong.
        NothingFeasibleError: nothing meets its constraints; nothing was published.
        HubserveError: what else a phase raises.
        KeyboardInterrupt: it was asked to end; it can go on.
    """
    job = parse_job(run.definition(), where=run.id)
    report = Report(run, job, on_status, draw)
    with report.at_work():
        parts = check_job(job, where=run.where)
        winner = search(parts, run, report)
        report.chosen(winner.number, winner.scores, winner.arch)
        pictures = report.pictures()
        trained = retrain(parts, winner, run, report)
        package = export(parts, winner, trained, run, report)
        package = illustrate(profile(parts, package, report), pictures)
        report.published(publish(parts, package, run, report))
    return report.status
