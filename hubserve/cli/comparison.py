"""Runs `hubserve compare`: reads the tables, compares, writes the report and prints it."""

import hashlib
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from hubserve import experiment as experiments
from hubserve.cli.exit_codes import INTERRUPTED
from hubserve.cli.output import print_json, print_table, progress_bar
from hubserve.cli.output_files import check_folder_writable
from hubserve.comparison import (
    NAMED_TABLES,
    BenchmarkTable,
    Scores,
    StrategyComparison,
    compare,
    find_competitors,
    named_table,
    pair_frame,
    random_frame,
    rank_frame,
    read_scored_csv,
    summary_frame,
    time_frame,
)
from hubserve.comparison.nas_benchmark_tables import DATASETS, TableOptions
from hubserve.comparison.report import write_report
from hubserve.comparison.report_pages import report_pages
from hubserve.comparison.table_files import table_file
from hubserve.errors import EvaluatorError, ExperimentError, MissingExtraError
from hubserve.experiment import Executor, InlineExecutor, ProcessExecutor
from hubserve.home import home
from hubserve.similar_names import suggest


@dataclass(frozen=True)
class CompareOptions:
    """The arguments of `hubserve compare`, under the names that they have there.

    Attributes:
        tables: Published tables as NAME or NAME=FILE, and CSV files.
        strategies: Names or import paths of strategies, separated by commas, or YAML files of them.
        trials: Number of trials of each search.
        seeds: Number of seeds, each of which gives one search for each strategy and table.
        first_seed: First seed; the others follow it.
        file: File or URL of the one published table; None takes the file in `tables`, or downloads it if its address is known.
        sha256: SHA-256 that the file must have; a URL needs it, None does not check a file.
        dataset: Data sets of NasBench201, separated by commas, or "all".
        epochs: Number of epochs of the trainings; None takes 12 for NasBench201 and 108 for NasBench101.
        join: CSV file with more columns for the archs, matched by its first column; None without one.
        choices: Columns of a CSV file that describe an arch, separated by commas; None for published tables only.
        drive: Columns, separated by commas, of the score that strategies see, one of them for each seed; a CSV file needs them.
        judge: Column by which the arch that was found is judged; a CSV file needs it.
        minimize: Column of a second objective, which is minimized; None for one objective.
        lower_is_better: Whether lower values of `drive` and `judge` are better.
        reference: Reference point of the hypervolume, "SCORE,COST", either of which may be "worst"; None takes the worst.
        at: Numbers of trials after which results are reported, separated by commas; None takes the usual ones.
        out: Folder of finished searches and of the report; None takes one below `home()`.
        workers: Number of searches that run at the same time.
        ray: Whether they run on Ray in place of processes.
        trust: Whether a file of NasBench201 may hold classes whose code runs when it is read.
    """

    tables: tuple[str, ...]
    strategies: tuple[str, ...]
    trials: int
    seeds: int
    first_seed: int
    file: str | None
    sha256: str | None
    dataset: str
    epochs: int | None
    join: Path | None
    choices: str | None
    drive: str | None
    judge: str | None
    minimize: str | None
    lower_is_better: bool
    reference: str | None
    at: str | None
    out: Path | None
    workers: int
    ray: bool
    trust: bool


def run_comparison(options: CompareOptions, *, as_json: bool) -> None:
    """Compares strategies on tables of known scores, writes plots and a report, and prints tables or one JSON document.

    Searches that an earlier call finished are not run again. A progress bar is shown on stderr if that is a terminal.

    Raises:
        typer.Exit: With code 130, if Ctrl+C stopped it.
        HubserveError: An option is wrong, or a strategy raised an exception.
    """
    competitors = find_competitors(options.strategies)
    marks, reference = _marks(options.at), _reference(options.reference)
    if options.out is not None:
        check_folder_writable(options.out)
    tables = [table for text in options.tables for table in _tables(text, options)]
    folder = options.out or home() / "comparisons" / _folder_name(tables, options.trials)
    total = len(tables) * len(competitors) * options.seeds
    with progress_bar("Searching", total) as advance:
        finished = 0

        def on_cell(done: int, total: int) -> None:
            nonlocal finished
            advance(done - finished)
            finished = done

        try:
            found = compare(
                tables,
                competitors,
                trials=options.trials,
                seeds=range(options.first_seed, options.first_seed + options.seeds),
                marks=marks,
                reference=reference,
                folder=folder,
                executor=_executor(options),
                on_cell=on_cell,
            )
        except KeyboardInterrupt:
            typer.echo(f"stopped; finished searches are in {folder}, and the same command goes on", err=True)
            raise typer.Exit(INTERRUPTED) from None
    plots = _draw(found, folder)
    files = plots + write_report(found, folder, plots=plots, command=shlex.join(["hubserve", *sys.argv[1:]]))
    for warning in found.warnings:
        typer.echo(f"WARNING: {warning}", err=True)
    if as_json:
        return print_json(_document(found, folder, files))
    _print(found)
    return typer.echo(f"{len(files)} files in {folder}")


def _draw(found: StrategyComparison, folder: Path) -> list[Path]:
    """Draws the plots; without matplotlib, says on stderr that there are none."""
    try:
        from hubserve.comparison.curve_plots import draw_curves  # Needs the extra `plots`.
    except MissingExtraError as error:
        typer.echo(f"without plots: {error}", err=True)
        return []
    return draw_curves(found, folder)


def _tables(text: str, options: CompareOptions) -> list[BenchmarkTable]:
    name, equals, file = text.partition("=")
    if name in NAMED_TABLES:
        if equals and options.file is not None:
            raise EvaluatorError(f"{text} names its file, and --file another one; give one of them")
        if not equals and options.file is not None and len(options.tables) > 1:
            raise EvaluatorError(f"--file {options.file} is for a single table; write NAME=FILE for each of several")
        return _named(name, file if equals else options.file, options)
    if not text.endswith((".csv", ".csv.gz")) and not Path(text).is_file():
        raise EvaluatorError(f"{text!r} is neither a CSV file nor a published table. {suggest(name, NAMED_TABLES)}")
    missing = [option for option in ("choices", "drive", "judge") if getattr(options, option) is None]
    if missing:
        wanted = ", ".join(f"--{option}" for option in missing)
        raise EvaluatorError(f"{text}: give {wanted}: the columns that describe an arch, drive the searches and judge them")
    path = table_file(text, options.sha256)
    scores = Scores(tuple(_split(options.drive)), options.judge or "", options.minimize, options.lower_is_better)
    return [read_scored_csv(path, _split(options.choices), scores)]


def _named(name: str, file: str | None, options: CompareOptions) -> list[BenchmarkTable]:
    if options.choices is not None:
        raise EvaluatorError(f"{name} has the choices of its space; leave out --choices {options.choices}")
    wanted = ["cifar10"] if name != "NasBench201" else DATASETS if options.dataset == "all" else _split(options.dataset)
    return [
        named_table(
            name,
            TableOptions(
                file=file,
                sha256=options.sha256,
                dataset=dataset,
                epochs=options.epochs,
                drive=tuple(_split(options.drive)) or None,
                judge=options.judge,
                minimize=options.minimize,
                lower_is_better=options.lower_is_better,
                join=options.join,
                trusted=options.trust,
            ),
        )
        for dataset in wanted
    ]


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _marks(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in _split(text)]
    except ValueError as error:
        raise ExperimentError(f"--at {text}: write numbers of trials, such as 50,150") from error


def _reference(text: str | None) -> tuple[float | None, float | None]:
    if text is None:
        return None, None
    try:
        score, cost = (float(part) if part != "worst" else None for part in _split(text))
    except ValueError as error:
        raise ExperimentError(f"--reference {text}: write a score and a cost, such as 10,30 or 10,worst") from error
    return score, cost


def _folder_name(tables: list[BenchmarkTable], trials: int) -> str:
    """Returns a name that depends on the tables and the number of trials, so that the same command finds its searches again."""
    digest = hashlib.sha256("".join(table.fingerprint for table in tables).encode()).hexdigest()[:8]
    return re.sub(r"[^\w.-]+", "-", f"{tables[0].name}-{trials}-{digest}")


def _executor(options: CompareOptions) -> Executor:
    if options.ray:
        # By attribute: Ray, an extra, is imported at that moment.
        make: Callable[..., Executor] = getattr(experiments, "RayExecutor")  # noqa: B009 - mypy knows no such name
        return make(options.workers)
    return ProcessExecutor(options.workers, threads=1) if options.workers > 1 else InlineExecutor()


def _document(found: StrategyComparison, folder: Path, files: list[Path]) -> dict[str, Any]:
    """Returns what `--json` prints: each frame but that of the curves as a list of records, and what was compared."""
    tables = [
        {
            "name": result.table.name,
            "archs": result.table.space.grid_size,
            "rows": len(result.table),
            "drive": list(result.table.scores.drive),
            "judge": result.table.scores.judge,
            "minimize": result.table.scores.minimize,
            "best": result.table.best_judge,
            "reference": result.reference,
        }
        for result in found.results
    ]
    return {
        "folder": str(folder),
        "files": [str(file) for file in files],
        "tables": tables,
        "strategies": list(found.labels),
        "trials": found.trials,
        "seeds": list(found.seeds),
        "summary": summary_frame(found).records(),
        "pairs": pair_frame(found).records(),
        "ranks": rank_frame(found).records(),
        "times": time_frame(found).records(),
        "random": random_frame(found).records(),
        "warnings": found.warnings,
    }


def _print(found: StrategyComparison) -> None:
    for page in report_pages(found):
        print_table(page.title, page.columns, page.rows)
