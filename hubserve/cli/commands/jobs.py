"""The commands `hubserve search`, `jobs`, `exports` and `plot`, which run, list and control search jobs and exports."""

from pathlib import Path
from typing import Annotated

import typer

from hubserve.cli.output import CheckAll, Detach, Json, check_kind


def search(
    job: Annotated[str | None, typer.Argument(help="A job file, or its name in search_jobs/; lists all unless given.")] = None,
    run: Annotated[Path | None, typer.Option(help="Go on with the job in this run folder.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest run of JOB that is not done.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the job can run; --check=all decodes all images.")
    ] = False,
    check_all: CheckAll = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Run a search job: search, retrain the winner, export, profile, publish; or resume one.

    hubserve search digits_quickstart

    Exit codes: 0 done, 2 bad input, 3 nothing meets the constraints, 130 interrupted (it can go on).
    """
    from hubserve.cli.search import search as run_search

    run_search(job, run=run, resume=resume, check=check_kind(check, check_all), detach=detach, as_json=as_json)


def jobs(
    job: Annotated[str | None, typer.Argument(help="One job, by its id; lists all unless given.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End it; it can go on later.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with it in the background.")] = False,
    delete_it: Annotated[bool, typer.Option("--delete", help="Delete its run folder.")] = False,
    log: Annotated[int, typer.Option(min=0, help="Show the last lines of its log, this many.")] = 0,
    as_json: Json = False,
) -> None:
    """List the runs of search jobs, or show, stop, resume or delete one."""
    from hubserve.cli.search import manage

    manage(job, stop=stop, resume=resume, delete=delete_it, log=log, as_json=as_json)


def exports(
    export: Annotated[str | None, typer.Argument(help="One export, by its id; lists all unless given.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End it.")] = False,
    as_json: Json = False,
) -> None:
    """List the exports that were requested over HTTP, or show or stop one."""
    from hubserve.cli.search import manage_exports

    manage_exports(export, stop=stop, as_json=as_json)


def plot(
    run: Annotated[str, typer.Argument(help="A job, by its id or its run folder.")],
    names: Annotated[
        list[str] | None,
        typer.Option("--plot", help="best, pareto or probabilities; may be given several times. All unless given."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write into; plots/ in the run folder unless given.")] = None,
    file_format: Annotated[str, typer.Option("--format", help="svg, png or pdf.")] = "svg",
    as_json: Json = False,
) -> None:
    """Plot a search: best score so far, accuracy against a cost, or probabilities of a one-shot run."""
    from hubserve.cli.search import plot as draw_plots

    draw_plots(run, out=out, names=names, ending=file_format, as_json=as_json)
