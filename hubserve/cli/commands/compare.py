"""The command `hubserve compare`, which compares search strategies on tables of known scores."""

from pathlib import Path
from typing import Annotated

import typer

from hubserve.cli.output import Json


def compare(
    tables: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE",
            help="NasBench201, NasBench101, NasBenchMacro, also as NAME=FILE; or any CSV file (.csv, .csv.gz), with --choices.",
        ),
    ],
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategies",
            help="Names or import paths (my_file:MyStrategy), separated by commas; settings follow as "
            "NAME:argument=value. Or a YAML file. Random and RegularizedEvolution unless given; with --minimize, Random and "
            "ParetoEvolution.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each search.")] = 150,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 200,
    first_seed: Annotated[int, typer.Option(min=0, help="The first seed; the others follow it.")] = 0,
    file: Annotated[str | None, typer.Option(help="File or URL of the one published table.")] = None,
    sha256: Annotated[str | None, typer.Option(help="SHA-256 that the file must have; a URL needs it.")] = None,
    dataset: Annotated[
        str, typer.Option(help="Of NasBench201: cifar10, cifar100, ImageNet16-120, several with commas, or all.")
    ] = "cifar100",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the trainings; 12 for NasBench201, 108 for NasBench101.")
    ] = None,
    join: Annotated[Path | None, typer.Option(help="CSV file with more columns, matched by its first column.")] = None,
    choices: Annotated[str | None, typer.Option(help="Columns of a CSV file that describe an arch, with commas.")] = None,
    drive: Annotated[
        str | None, typer.Option(help="Column that strategies see. Of several, with commas, each seed sees one.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Column by which the arch that was found is judged.")] = None,
    minimize: Annotated[str | None, typer.Option(help="Column of a second objective, such as a latency.")] = None,
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="Lower values of --drive and --judge are better, as for errors.")
    ] = False,
    reference: Annotated[
        str | None, typer.Option(help="Reference point of the hypervolume, SCORE,COST; the worst of the table unless given.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="Trials after which results are printed, with commas.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of finished searches and of the report; one under HUBSERVE_HOME unless given.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=4096, help="Searches that run at the same time.")] = 1,
    ray: Annotated[bool, typer.Option("--ray", help="Run them on Ray in place of processes.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read a file of NasBench201 with classes whose code runs when it is read.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare search strategies on tables of known scores: regret, tests paired by seed, ranks, time.

    hubserve compare NasBench201=nb201.csv --dataset cifar100 --strategies Random,RegularizedEvolution --seeds 200

    hubserve compare my.csv.gz --choices a,b,c --drive valid --judge test --strategies Random,my_file:MyStrategy

    Each finished search is written at once: the same command goes on after it was stopped or killed.
    """
    from hubserve.cli.comparison import CompareOptions, run_comparison

    run_comparison(
        CompareOptions(
            tables=tuple(tables),
            strategies=tuple(strategies or [f"Random,{'RegularizedEvolution' if minimize is None else 'ParetoEvolution'}"]),
            trials=trials,
            seeds=seeds,
            first_seed=first_seed,
            file=file,
            sha256=sha256,
            dataset=dataset,
            epochs=epochs,
            join=join,
            choices=choices,
            drive=drive,
            judge=judge,
            minimize=minimize,
            lower_is_better=lower_is_better,
            reference=reference,
            at=at,
            out=out,
            workers=workers,
            ray=ray,
            trust=trust,
        ),
        as_json=as_json,
    )
