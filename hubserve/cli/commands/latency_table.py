"""The commands `hubserve latency-table ...`, which build and check lookup tables and predict latencies with them."""

from pathlib import Path
from typing import Annotated

import typer

from hubserve.cli.exit_codes import NEGATIVE_RESULT, CommandGroup
from hubserve.cli.output import SPACE_HELP, Json, print_facts, print_json, print_table
from hubserve.cli.output_files import check_folder_writable, check_writable

app = CommandGroup(
    no_args_is_help=True,
    help="Predict the latency of any arch of a space, from its operations, each measured once on this machine.",
)

Space = Annotated[str, typer.Option(help=SPACE_HELP)]
Settings = Annotated[Path | None, typer.Option(help="JSON file: settings of the space.")]
InputSize = Annotated[int | None, typer.Option(min=1, help="Side of the images, in pixels; the space's own unless given.")]
Length = Annotated[
    list[str] | None,
    typer.Option(help="AXIS=NUMBER: length of an axis of other inputs, such as length=128; the usual one unless given."),
]
Threads = Annotated[int, typer.Option(min=1, help="Threads that a call may use.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images, or rows of other inputs, of a call.")]
Table = Annotated[Path | None, typer.Option(help="File of the table; one a space under HUBSERVE_HOME unless given.")]


@app.command()
def build(
    space: Space,
    settings: Settings = None,
    input_size: InputSize = None,
    length: Length = None,
    threads: Threads = 1,
    batch_size: BatchSize = 1,
    table: Table = None,
    archs: Annotated[int, typer.Option(min=1, help="Random archs to look through for operations.")] = 60,
    fit_nets: Annotated[int, typer.Option(min=0, help="Whole networks to learn the calibration from.")] = 16,
    check_nets: Annotated[int, typer.Option(min=0, help="Whole networks to measure the error on.")] = 32,
    seed: Annotated[int, typer.Option(help="Seed of all random archs.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure the operations of a space, then some whole networks. If interrupted, the next run continues from there.

    A table of another machine or of other settings is refused, not replaced.

    hubserve latency-table build --space ProxylessNAS

    hubserve latency-table build --space NASBERT --length length=32
    """
    from hubserve.cli.lookup_tables import Subject, moving_bar, table_facts
    from hubserve.latency.tables.build import BuildPlan, build_table

    subject = Subject.from_options(
        space, settings, input_size=input_size, length=length, threads=threads, batch_size=batch_size, table=table
    )
    plan = BuildPlan(archs=archs, fit_nets=fit_nets, check_nets=check_nets, seed=seed)
    check_folder_writable(subject.path.parent)
    subject.path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(subject.path)
    with moving_bar() as progress:
        built = build_table(
            subject.space,
            subject.settings,
            subject.path,
            input_size=subject.input_size,
            threads=threads,
            batch_size=batch_size,
            lengths=subject.lengths,
            plan=plan,
            progress=progress,
        )
    facts = table_facts(subject.path, built)
    return print_json(facts) if as_json else print_facts(f"Latency table of {space}", facts)


@app.command()
def show(
    space: Space,
    settings: Settings = None,
    input_size: InputSize = None,
    length: Length = None,
    threads: Threads = 1,
    batch_size: BatchSize = 1,
    table: Table = None,
    rows: Annotated[int, typer.Option(min=0, help="Slowest operations to list.")] = 20,
    as_json: Json = False,
) -> None:
    """Show a lookup table: its machine, the error of its predictions, and the slowest operations."""
    from hubserve.cli.lookup_tables import Subject, table_facts

    subject = Subject.from_options(
        space, settings, input_size=input_size, length=length, threads=threads, batch_size=batch_size, table=table
    )
    found = subject.load()
    if as_json:
        return print_json(
            {**table_facts(subject.path, found), "operation_times": {k: t.model_dump() for k, t in found.operations.items()}}
        )
    print_facts(f"Latency table of {space}", table_facts(subject.path, found))
    slowest = sorted(found.operations.items(), key=lambda entry: -entry[1].ms)[:rows]
    return print_table(
        "Slowest operations",
        ("operation", "ms", "p50", "mean", "sd", "calls"),
        [(k, f"{t.ms:.4f}", f"{t.p50_ms:.4f}", f"{t.mean_ms:.4f}", f"{t.sd_ms:.4f}", t.n) for k, t in slowest],
    )


@app.command()
def predict(
    space: Space,
    arch: Annotated[Path, typer.Option(help="JSON file: label -> value.")],
    settings: Settings = None,
    input_size: InputSize = None,
    length: Length = None,
    threads: Threads = 1,
    batch_size: BatchSize = 1,
    table: Table = None,
    as_json: Json = False,
) -> None:
    """Predict the latency of an arch."""
    from hubserve.cli.lookup_tables import Subject
    from hubserve.cli.model_options import read_json

    subject = Subject.from_options(
        space, settings, input_size=input_size, length=length, threads=threads, batch_size=batch_size, table=table
    )
    found = subject.load().explain(subject.space, read_json(arch))
    if as_json:
        return print_json({"latency_ms": found.ms, "operations": found.operations, "measured": found.measured})
    note = "" if found.measured > 0.999 else f"  ({1 - found.measured:.0%} of it estimated from similar operations)"
    return typer.echo(f"{found.ms:.3f} ms{note}")


@app.command()
def check(
    space: Space,
    settings: Settings = None,
    input_size: InputSize = None,
    length: Length = None,
    threads: Threads = 1,
    batch_size: BatchSize = 1,
    table: Table = None,
    nets: Annotated[int, typer.Option(min=3, help="Random networks to export and measure.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the random networks.")] = 1000,
    as_json: Json = False,
) -> None:
    """Measure random networks, and show the error of the table's predictions of them."""
    from hubserve.cli.lookup_tables import Subject, error_facts, moving_bar
    from hubserve.latency.tables.build import check_table

    subject = Subject.from_options(
        space, settings, input_size=input_size, length=length, threads=threads, batch_size=batch_size, table=table
    )
    with moving_bar() as progress:
        error, pairs = check_table(subject.load(), subject.space, nets=nets, seed=seed, progress=progress)
    if as_json:
        return print_json({**error.model_dump(), "predicted_and_measured_ms": pairs})
    return print_facts(f"{nets} networks of {space}, measured now", error_facts(error))


@app.command()
def feasible(
    space: Space,
    max_ms: Annotated[float, typer.Option(min=0, help="Limit on the latency of a call, in ms.")],
    settings: Settings = None,
    input_size: InputSize = None,
    length: Length = None,
    threads: Threads = 1,
    batch_size: BatchSize = 1,
    table: Table = None,
    archs: Annotated[int, typer.Option(min=1, help="Random archs to predict.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the random archs.")] = 0,
    as_json: Json = False,
) -> None:
    """Check before a search whether a limit on latency can be met. Exit code 1 if not.

    hubserve latency-table feasible --space ProxylessNAS --max-ms 8
    """
    from dataclasses import asdict

    from hubserve.cli.lookup_tables import Subject, feasibility_facts
    from hubserve.cli.output import progress_bar
    from hubserve.latency.tables.limit_check import feasibility

    subject = Subject.from_options(
        space, settings, input_size=input_size, length=length, threads=threads, batch_size=batch_size, table=table
    )
    with progress_bar("archs", archs) as advance:
        found = feasibility(subject.load(), subject.space, max_ms=max_ms, archs=archs, seed=seed, progress=advance)
    if as_json:
        print_json(asdict(found))
    else:
        print_facts(f"{space} within {max_ms:g} ms: {found.verdict}", feasibility_facts(found))
    if found.verdict == "no":
        raise typer.Exit(NEGATIVE_RESULT)
