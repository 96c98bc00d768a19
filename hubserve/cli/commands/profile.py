"""The commands `hubserve profile ...`, which measure the profile of a model and compare two profiles."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hubserve.cli.exit_codes import NEGATIVE_RESULT, CommandGroup
from hubserve.cli.output import MODEL_HELP, Json, Trust, print_json, print_table
from hubserve.cli.output_files import check_folder_writable, check_writable


class DefaultCommand(TyperGroup):
    """A typer group that runs its first command if the first argument is not the name of one of its commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


app = CommandGroup(
    cls=DefaultCommand,
    no_args_is_help=True,
    help="Measure latency, throughput, memory, and where the time goes. `hubserve profile MODEL` is `profile measure MODEL`.",
)


@app.command()
def measure(
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
    data: Annotated[str | None, typer.Argument(help="Images for --all-formats, as for `hubserve eval`.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a call.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads that a call may use.")] = 1,
    percent: Annotated[float, typer.Option(min=1, max=99.9, help="Deepest percentile wanted; 99 takes 662 samples.")] = 99.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Most time to measure latency.")] = 60.0,
    latency_only: Annotated[bool, typer.Option("--latency-only", help="Leave out throughput, memory and operators.")] = False,
    length: Annotated[
        list[str] | None, typer.Option(help="AXIS=NUMBER: length of an axis of the inputs, such as length=128.")
    ] = None,
    openvino: Annotated[bool, typer.Option("--openvino", help="Also run the ONNX file by OpenVINO.")] = False,
    table: Annotated[Path | None, typer.Option(help="Lookup table to compare with; that of this machine unless given.")] = None,
    save: Annotated[Path | None, typer.Option(help="File for the whole report with all samples, as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="File for the report as a page with charts.")] = None,
    trust: Trust = False,
    write: Annotated[bool, typer.Option("--write", help="Put the report into the package, as profile.json.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a report, and measure nothing.")] = False,
    all_formats: Annotated[
        bool,
        typer.Option(
            "--all-formats",
            help="Export the model in every format, and print one table of those that work here: size, accuracy on DATA, "
            "latency, memory, parity. What fails is listed with its reason.",
        ),
    ] = False,
    max_images: Annotated[int, typer.Option(min=16, help="Largest number of images of DATA; half of them calibrate.")] = 200,
    as_json: Json = False,
) -> None:
    """Measure eager PyTorch and every format of a model side by side.

    hubserve profile efficientnet-lite0 --html lite0.html

    hubserve profile efficientnet-lite0 imagenet/val --all-formats
    """
    from hubserve.atomic import staged_result
    from hubserve.cli.all_formats import check_without_effect, profile_formats
    from hubserve.cli.latency_reports import ProfileOptions, measure_package, own_folder, print_report
    from hubserve.cli.lookup_tables import named_lengths
    from hubserve.cli.resolve_model import open_package
    from hubserve.errors import ProfileError
    from hubserve.latency.format_table import FormatTable
    from hubserve.latency.html_report import render_page
    from hubserve.latency.profile_report import ProfileReport
    from hubserve.package.add_files import add_profile
    from hubserve.package.run_limit import interruptible

    if schema:
        return print_json((FormatTable if all_formats else ProfileReport).model_json_schema())
    if model is None:
        raise ProfileError("name a model, or ask for --schema")
    if all_formats:
        others = {
            "--html": bool(html),
            "--write": write,
            "--table": bool(table),
            "--openvino": openvino,
            "--percent": percent != 99,
        }
        check_without_effect(others, "--all-formats prints a table of its own, which --save writes as JSON")
        options = ProfileOptions(batch_size, threads, seconds=seconds, details=not latency_only)
        return profile_formats(model, data, options, max_images=max_images, save=save, trusted=trust, as_json=as_json)
    check_without_effect({"DATA": data is not None, "--max-images": max_images != 200}, "it goes with --all-formats")
    if write:
        own_folder(model)
        check_folder_writable(Path(model).absolute().parent)
    for path in (save, html):
        check_writable(path)
    options = ProfileOptions(
        batch_size, threads, percent, seconds, not latency_only, openvino, table, named_lengths(length or ())
    )
    with open_package(model, trusted=trust) as package:
        with interruptible():
            report = measure_package(package, options)
        text = report.model_dump_json(indent=2) + "\n"
        if write:
            add_profile(package, text)
    for path, content in ((save, text), (html, render_page(report) if html else "")):
        if path is not None:
            with staged_result(path) as unfinished:
                unfinished.write_text(content, "utf-8")
    return print_json(report.model_dump(mode="json")) if as_json else print_report(report)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A report (JSON of --save), or a package or tag that holds one: what was.")],
    b: Annotated[str, typer.Argument(help="A report like A: what is.")],
    formats: Annotated[list[str] | None, typer.Option("--format", help="Format to compare; all shared unless given.")] = None,
    smallest: Annotated[float, typer.Option(min=0, help="Percent of change below which no difference is reported.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Say whether B is slower than A beyond the noise of the machine. Exit code 1 if it is slower in any format, for CI.

    hubserve profile compare before.json after.json --format onnx
    """
    from hubserve.cli.latency_reports import comparison_rows, read_report, warn_if_hosts_differ
    from hubserve.latency.compare import compare_reports

    first, second = read_report(a), read_report(b)
    found = compare_reports(first, second, formats=formats or (), smallest=smallest / 100)
    warn_if_hosts_differ(first, second)
    if as_json:
        print_json([comparison.model_dump() for comparison in found])
    else:
        print_table(f"{b} against {a}", *comparison_rows(found))
    if any(comparison.verdict == "slower" for comparison in found):
        raise typer.Exit(NEGATIVE_RESULT)
