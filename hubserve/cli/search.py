"""What `hubserve search`, `hubserve jobs` and `hubserve plot` do."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from hubserve import jobs
from hubserve.cli.job_progress import eta_text, shown, values_line
from hubserve.cli.output import print_facts, print_json, print_table
from hubserve.errors import JobError, MissingExtraError, NothingFeasibleError, suggest
from hubserve.jobs import Job, JobStatus, Run

NOTHING_FEASIBLE, INTERRUPTED = 3, 130


def search(job: str | None, *, run: Path | None, resume: bool, check: bool, detach: bool, as_json: bool) -> None:
    """See `hubserve search --help`."""
    if run is None and job is None:
        return _list_available(as_json)
    if run is not None and job is not None:
        raise JobError(f"both the job {job} and --run {run} are given; a run folder has its job in it")
    if check:
        text, where = (jobs.open_run(run).definition(), str(run)) if run is not None else _text_of(str(job))
        return _check(text, where, as_json)
    chosen = jobs.open_run(run) if run is not None else _to_resume(str(job)) if resume else jobs.create(*_created(str(job)))
    if not detach:
        return _run_here(chosen, as_json)
    jobs.start(chosen)
    status = jobs.read(chosen)
    return print_json(status.model_dump(mode="json")) if as_json else typer.echo(chosen.id)


def manage(job_id: str | None, *, stop: bool, resume: bool, delete: bool, log: int, as_json: bool) -> None:
    """See `hubserve jobs --help`."""
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
    status = jobs.read(run)
    return print_json(status.model_dump(mode="json")) if as_json else _print_status(run, status)


def plot(target: str, *, out: Path | None, names: list[str] | None, ending: str, as_json: bool) -> None:
    """See `hubserve plot --help`."""
    from hubserve.pipeline.plots import plot as draw
    from hubserve.pipeline.plots import plot_names

    run = jobs.open_run(Path(target)) if Path(target).is_dir() else jobs.find(target)
    status = jobs.read(run)
    limits = _limits(jobs.parse_job(run.definition(), where=run.id))
    chosen = names or plot_names(status)
    if not chosen:
        raise JobError(f"{run.id} has nothing to draw yet: no trial ended with a score")
    folder = out or run.path / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for name in chosen]
    for name, path in zip(chosen, paths, strict=True):
        draw(status, name, path, limits=limits)
    return print_json([str(path) for path in paths]) if as_json else typer.echo("\n".join(map(str, paths)))


def _text_of(job: str) -> tuple[str, str]:
    """The text of a job file, by its path or by its name in search_jobs/, and where it stands."""
    path = Path(job)
    if path.suffix in (".yaml", ".yml", ".json") or "/" in job:
        try:
            return path.read_text("utf-8"), job
        except (OSError, UnicodeDecodeError) as error:
            near = suggest(path.stem, [ready.name for ready in jobs.available_jobs()])
            raise JobError(f"cannot read the job {path}: {error}. {near}") from error
    return jobs.available_job(job).text(), job


def _created(job: str) -> tuple[str]:
    """Checked first: what cannot run leaves no folder."""
    from hubserve.pipeline import check_job

    text, where = _text_of(job)
    check_job(jobs.parse_job(text, where=where), where=Path.cwd())
    return (text,)


def _to_resume(job: str) -> Run:
    """The newest run of that job that is not done."""
    text, where = _text_of(job)
    name = jobs.parse_job(text, where=where).name
    for run in jobs.list_runs():
        status = jobs.read(run)
        if status.state != "done" and jobs.parse_job(run.definition(), where=run.id).name == name:
            return run
    raise JobError(f"there is no run of {name} to resume: `hubserve jobs` lists them; without --resume a new one begins")


def _list_available(as_json: bool) -> None:
    ready = jobs.available_jobs()
    if as_json:
        return print_json([{"name": job.name, "summary": job.summary, "path": str(job.path)} for job in ready])
    return print_table("Search jobs: hubserve search NAME", ("name", ""), [(job.name, job.summary) for job in ready])


def _list_runs(as_json: bool) -> None:
    found = jobs.list_statuses()
    if as_json:
        return print_json([status.model_dump(mode="json", exclude={"history", "oneshot"}) for status in found])
    rows = [(s.id, s.state, s.phase, s.trials, values_line(s.best.values) if s.best else "", s.published) for s in found]
    return print_table("Jobs", ("id", "state", "phase", "trials", "best", "published"), rows)


def _check(text: str, where: str, as_json: bool) -> None:
    from hubserve.pipeline import check_job

    job = jobs.parse_job(text, where=where)
    facts = check_job(job, where=Path.cwd()).facts()
    return print_json({"job": job.model_dump(mode="json"), **facts}) if as_json else print_facts(f"{job.name} can run", facts)


def _run_here(run: Run, as_json: bool) -> None:
    """Runs the job in this process; ends with exit code 3 where nothing is feasible, 130 where it was interrupted."""
    from hubserve.pipeline import run_job

    try:
        with jobs.hold(run), _terminated_like_interrupted(), shown(run.written_status()) as show:
            run_job(run, on_status=show, draw=_drawer())
    except NothingFeasibleError as error:
        if as_json:
            print_json(jobs.read(run).model_dump(mode="json"))
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(NOTHING_FEASIBLE) from error
    except KeyboardInterrupt:
        if as_json:
            print_json(jobs.read(run).model_dump(mode="json"))
        typer.echo(f"stopped; `hubserve search --run {run.path}` goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from None
    status = jobs.read(run)
    return print_json(status.model_dump(mode="json")) if as_json else _print_status(run, status)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM, by which a job is stopped, ends it as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _drawer() -> Callable[[JobStatus, Job, Path], list[Path]] | None:
    """What draws the pictures of a search; None where the extra `plots` is not installed."""
    try:
        from hubserve.pipeline.plots import plot as draw
        from hubserve.pipeline.plots import plot_names
    except MissingExtraError:
        return None

    def draw_all(status: JobStatus, job: Job, folder: Path) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.svg" for name in plot_names(status)}
        for name, path in paths.items():
            draw(status, name, path, limits=_limits(job))
        return list(paths.values())

    return draw_all


def _limits(job: Job) -> dict[str, float]:
    return {str(name): most for name, most in job.constraints.items()}


def _print_status(run: Run, status: JobStatus) -> None:
    best = status.best
    facts: dict[str, Any] = {
        "state": status.state,
        "phase": status.phase,
        "": status.message or None,
        "trials": f"{status.trials}{f' of {status.max_trials}' if status.max_trials else ''}",
        "seconds": f"{status.seconds:.0f} {eta_text(status.eta_seconds)}".strip(),
        "best": values_line(best.values) if best else None,
        "arch": ", ".join(f"{label} = {value}" for label, value in best.arch.items()) if best else None,
        "published": status.published,
        "error": status.error,
        "folder": run.path,
    }
    print_facts(status.id, facts)
