"""Carries out `hubserve search`, `hubserve jobs`, `hubserve exports` and `hubserve plot`, and prints their results."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from hubserve import jobs
from hubserve.bounded_files import read_bounded_text
from hubserve.cli.exit_codes import INTERRUPTED, NOTHING_FEASIBLE
from hubserve.cli.job_progress import check_progress, show_progress
from hubserve.cli.job_tables import print_status, test_accuracy
from hubserve.cli.output import print_facts, print_json, print_table
from hubserve.cli.output_files import check_folder_writable
from hubserve.errors import JobError, JobNotFoundError, NothingFeasibleError
from hubserve.jobs import Job, Run
from hubserve.jobs.devices_of_run import check_same_devices
from hubserve.jobs.job_file import MOST_BYTES
from hubserve.jobs.progress_text import values_text
from hubserve.jobs.read_status import UNREADABLE
from hubserve.similar_names import suggest

if TYPE_CHECKING:
    from hubserve.pipeline import ResolvedJob

Check = Literal["auto", "all"] | None
"""How a job is only checked: as usual, or with all images decoded; None runs it."""


def search(job: str | None, *, run: Path | None, resume: bool, check: Check, detach: bool, as_json: bool) -> None:
    """Carries out `hubserve search`: lists the available jobs, checks one, or runs or resumes one.

    Args:
        job: Path of a job file, or its name in search_jobs/; None lists the jobs, unless `run` is given.
        run: Run folder whose job is resumed.
        resume: Whether to resume the newest run of `job` that is not done, in place of starting a new one.
        check: Whether to only check that the job can run: "auto" does so, "all" also decodes every image, however many there
            are; None runs the job.
        detach: Whether to run it in the background.
        as_json: Whether to print a JSON document in place of tables.

    Raises:
        JobError: The job is wrong or cannot be run, both `job` and `run` are given, or (JobNotFoundError) there is no run to
            resume.
        HubserveError: A phase of the job failed for another reason.
        typer.Exit: No arch met the constraints (exit code 3), or the run was interrupted (exit code 130).
    """
    if run is None and job is None:
        return _list_available(as_json)
    if run is not None and job is not None:
        raise JobError(f"both the job {job} and --run {run} are given; a run folder has its job in it")
    if run is not None:
        return _run_existing(jobs.open_run(run), check=check, detach=detach, as_json=as_json)
    text, parsed = _read(str(job))
    return launch(
        text, parsed, names={parsed.name, Path(str(job)).stem}, resume=resume, check=check, detach=detach, as_json=as_json
    )


def launch(text: str, parsed: Job, *, names: Collection[str], resume: bool, check: Check, detach: bool, as_json: bool) -> None:
    """Checks a job, runs it in this process or in the background, or resumes a run of it.

    Args:
        text: Text of the job file.
        parsed: Job that the text describes.
        names: Names of jobs; `resume` takes the newest run, not done, of a job with one of them.
        resume: Whether to resume that run in place of starting a new one.
        check: Whether to only check that the job can run: "auto" does so, "all" also decodes every image, however many there
            are; None runs the job.
        detach: Whether to run it in the background.
        as_json: Whether to print a JSON document in place of tables.

    Raises:
        JobError: The job cannot be run, or (JobNotFoundError) there is no run to resume.
        HubserveError: A phase of the job failed for another reason.
        typer.Exit: No arch met the constraints (exit code 3), or the run was interrupted (exit code 130).
    """
    if resume:
        run = _newest_unfinished(names)
        check_same_devices(run, parsed)
        return _run_existing(run, check=check, detach=detach, as_json=as_json)
    if check:
        return _check(parsed, Path.cwd(), check, as_json)
    if detach:
        from hubserve.pipeline import check_definition

        # The data are not loaded here, as the job's own process loads them: if it cannot use them, the run ends as "refused".
        check_definition(parsed)
        return _start(jobs.create(text, job=parsed), as_json)
    from hubserve.data.own_images import Reading
    from hubserve.pipeline import resolve_job

    # Resolved before the run folder is created, so that a job that cannot run leaves no folder.
    with check_progress() as advance:
        resolved = resolve_job(parsed, where=Path.cwd(), reading=Reading(advance=advance))
    return _run(jobs.create(text, job=parsed), resolved, as_json)


def manage(job_id: str | None, *, stop: bool, resume: bool, delete: bool, log: int, as_json: bool) -> None:
    """Carries out `hubserve jobs`: lists the runs of jobs, or shows, stops, resumes or deletes one.

    A run that has ended stays as it is when it is stopped. Several options are carried out in the order stop, resume, delete.

    Args:
        job_id: Id of the run; None lists all runs.
        stop: Whether to stop the run.
        resume: Whether to resume the run in the background.
        delete: Whether to delete the folder of the run.
        log: Number of lines at the end of the log to print; 0 prints the status instead.
        as_json: Whether to print a JSON document in place of tables.

    Raises:
        JobError: An option needs a job and none is named, no run has that id (JobNotFoundError), the run to resume is running
            or done, the run to delete is running, or a process cannot be started or ended.
    """
    if job_id is None:
        if stop or resume or delete or log:
            raise JobError("name the job: `hubserve jobs` lists them")
        return _list_runs(as_json)
    run = jobs.find(job_id)
    if stop:
        jobs.stop(run)
    if resume:
        jobs.start(run)
    if delete:
        jobs.delete(run)
        return print_json({"deleted": job_id}) if as_json else typer.echo(f"deleted {job_id}")
    if log:
        lines = run.log_tail(log)
        return print_json(lines) if as_json else typer.echo("\n".join(lines))
    return print_status(run, as_json)


def manage_exports(export_id: str | None, *, stop: bool, as_json: bool) -> None:
    """Carries out `hubserve exports`: lists the exports that were requested over HTTP, or shows or stops one.

    Args:
        export_id: Id of the export; None lists all exports.
        stop: Whether to stop the export.
        as_json: Whether to print a JSON document in place of tables.

    Raises:
        JobError: `stop` is given without an id, or (JobNotFoundError) no export has that id.
    """
    from hubserve.service.exports import Exports
    from hubserve.service.job_and_export_limits import export_limits
    from hubserve.service.settings import ServiceSettings

    exports = Exports(1, export_limits(ServiceSettings()))
    if export_id is None:
        if stop:
            raise JobError("name the export: `hubserve exports` lists them")
        found = exports.list()
        if as_json:
            return print_json([status.model_dump(mode="json") for status in found])
        rows = [(status.id, status.state, status.phase, status.message) for status in found]
        return print_table("Exports", ("id", "state", "phase", ""), rows)
    status = exports.end(export_id) if stop else exports.read(export_id)
    return print_json(status.model_dump(mode="json")) if as_json else print_facts(status.id, status.model_dump(mode="json"))


def plot(target: str, *, out: Path | None, names: list[str] | None, ending: str, as_json: bool) -> None:
    """Carries out `hubserve plot`: writes the plots of a run and prints their paths.

    Args:
        target: Id of the run, or path of its run folder.
        out: Folder to write into; None takes the folder plots/ of the run.
        names: Names of the plots; None or an empty list draws all that the run has.
        ending: File ending, which decides the format: "svg", "png" or "pdf".
        as_json: Whether to print a JSON document in place of the paths.

    Raises:
        JobError: There is no such run (JobNotFoundError), or it has nothing to plot.
        ExperimentError: A name or the file ending is unknown, there is no data for a plot yet, or its file cannot be written.
        OutputError: The folder cannot be written.
    """
    from hubserve.pipeline.plots import plot as draw
    from hubserve.pipeline.plots import plot_names

    run = jobs.open_run(Path(target)) if Path(target).is_dir() else jobs.find(target)
    status = jobs.read(run)
    limits = jobs.parse_job(run.definition(), where=run.id).limits
    chosen = names or plot_names(status)
    if not chosen:
        raise JobError(f"{run.id} has nothing to draw yet: no trial ended with a score")
    folder = out or run.path / "plots"
    check_folder_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for name in chosen]
    for name, path in zip(chosen, paths, strict=True):
        draw(status, name, path, limits=limits)
    return print_json([str(path) for path in paths]) if as_json else typer.echo("\n".join(map(str, paths)))


def _read(job: str) -> tuple[str, Job]:
    """Returns the text of a job file, named by its path or by its name in search_jobs/, and the parsed job.

    Raises JobError if there is no such job, its file cannot be read, or it is wrong.
    """
    path = Path(job)
    if path.suffix not in (".yaml", ".yml", ".json") and "/" not in job:
        text = jobs.available_job(job).text()
        return text, jobs.parse_job(text, where=job)
    try:
        text = read_bounded_text(path, MOST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        near = suggest(path.stem, [found.name for found in jobs.available_jobs()])
        raise JobError(f"cannot read the job {path}: {error}. {near}") from error
    return text, jobs.parse_job(text, where=job)


def _newest_unfinished(names: Collection[str]) -> Run:
    """Returns the newest run, among those that are not done, of a job with one of `names`.

    Raises JobNotFoundError if there is none.
    """
    for run in jobs.list_runs():
        status = jobs.read(run)
        if status.state != "done" and status.name in names:
            return run
    raise JobNotFoundError(
        f"there is no run of {min(names)} to resume: `hubserve jobs` lists them; without --resume a new one begins"
    )


def _list_available(as_json: bool) -> None:
    found = jobs.available_jobs()
    if as_json:
        return print_json([{"name": job.name, "summary": job.summary, "path": str(job.path)} for job in found])
    return print_table("Search jobs: hubserve search NAME", ("name", ""), [(job.name, job.summary) for job in found])


def _list_runs(as_json: bool) -> None:
    found = jobs.list_summaries()
    for status in found:
        if status.message == UNREADABLE:
            typer.echo(status.error, err=True)
    if as_json:
        return print_json([status.model_dump(mode="json") for status in found])
    columns = ("id", "state", "phase", "trials", "best", "test_acc", "published")
    rows = [
        (s.id, s.state, s.phase, s.trials, values_text(s.best.values) if s.best else "", test_accuracy(s), s.published)
        for s in found
    ]
    return print_table("Jobs", columns, rows)


def _check(job: Job, where: Path, check: Literal["auto", "all"], as_json: bool, run: Run | None = None) -> None:
    """Prints what a job would do, with paths relative to `where`; the images of a `run` are in the parts with which it began.

    Raises JobError if the job cannot be run.
    """
    from hubserve.data.own_images import Reading
    from hubserve.pipeline import resolve_job
    from hubserve.pipeline.pinned_data import reading_of

    how: Literal["all"] | None = "all" if check == "all" else None
    with check_progress() as advance:
        reading = Reading(advance=advance, check=how) if run is None else reading_of(run, advance, how)
        facts = resolve_job(job, where=where, reading=reading).facts()
    return print_json({"job": job.model_dump(mode="json"), **facts}) if as_json else print_facts(f"{job.name} can run", facts)


def _run_existing(run: Run, *, check: Check, detach: bool, as_json: bool) -> None:
    if check:
        return _check(jobs.parse_job(run.definition(), where=str(run.path)), run.where, check, as_json, run)
    return _start(run, as_json) if detach else _run(run, None, as_json)


def _start(run: Run, as_json: bool) -> None:
    jobs.start(run)
    return print_status(run, as_json=True) if as_json else typer.echo(run.id)


def _run(run: Run, resolved: ResolvedJob | None, as_json: bool) -> None:
    """Runs a job in this process and prints its status at the end.

    Raises typer.Exit with code 3 if no arch met the constraints, and with code 130 if the run was interrupted; HubserveError if
    the job cannot be run or a phase failed.
    """
    from hubserve.pipeline import run_here

    try:
        with show_progress() as show:
            run_here(run, resolved, on_status=show)
    except NothingFeasibleError as error:
        if as_json:
            print_status(run, as_json)
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(NOTHING_FEASIBLE) from error
    except KeyboardInterrupt:
        if as_json:
            print_status(run, as_json)
        typer.echo(f"stopped; `hubserve search --run {run.path}` goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from None
    return print_status(run, as_json)
