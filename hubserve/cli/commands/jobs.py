"""The commands `hubserve search`, `jobs`, `exports` and `plot`, which run, list and control search jobs and exports."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from hubserve.cli.output import Json


def _check(check: bool, check_all: bool) -> Literal["auto", "all"] | None:
    """Returns how a job is only checked: None if it is not."""
    return "all" if check_all else "auto" if check else None


def search(
    job: Annotated[str | None, typer.Argument(help="A job file, or its name in search_jobs/; lists all unless given.")] = None,
    run: Annotated[Path | None, typer.Option(help="Go on with the job in this run folder.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest run of JOB that is not done.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the job can run; --check=all decodes all images.")
    ] = False,
    check_all: Annotated[bool, typer.Option("--check-all", hidden=True, help="The same as --check=all.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; `hubserve jobs` follows it.")] = False,
    as_json: Json = False,
) -> None:
    """Run a search job: search, retrain the winner, export, profile, publish; or resume one.

    hubserve search digits_quickstart

    Exit codes: 0 done, 2 bad input, 3 nothing meets the constraints, 130 interrupted (it can go on).
    """
    from hubserve.cli.search import search as run_search

    run_search(job, run=run, resume=resume, check=_check(check, check_all), detach=detach, as_json=as_json)


def finetune(
    model: Annotated[str, typer.Argument(help="A pre-searched model, a model of the store, or a package folder.")],
    data: Annotated[
        str,
        typer.Argument(
            help="Folder with a folder of images for each class, or train/, val/, test/; a CSV or Parquet listing; hf://owner/name."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name to publish it under; that of DATA unless given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of training; 10 unless --epochs is given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the training images.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the network's input in pixels; proposed unless given.")] = None,
    fit: Annotated[str | None, typer.Option(help="crop, pad or squash: how long images fit; proposed unless given.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe, such as learning_rate=0.01 or augment.mixup=0.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest run of that name that is not done.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it can run; --check=all decodes all images.")
    ] = False,
    check_all: Annotated[bool, typer.Option("--check-all", hidden=True, help="The same as --check=all.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; `hubserve jobs` follows it.")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on your own images: new classes, training, test, export, profile, publish.

    hubserve finetune efficientnet-lite0 photos --name flowers --minutes 10

    Exit codes: 0 done, 2 bad input, 130 interrupted (it can go on).
    """
    from hubserve.cli.finetune import finetune as run_finetune

    budget = {"minutes": minutes, "epochs": epochs}
    images = {"size": size, "fit": fit}
    run_finetune(
        model, data, name=name, budget=budget, images=images, settings=set_ or [], seed=seed,
        resume=resume, check=_check(check, check_all), detach=detach, as_json=as_json,
    )  # fmt: skip


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
