"""The commands."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hubserve.cli.alias import app as alias_app
from hubserve.cli.latency_table import app as latency_table_app
from hubserve.cli.output import (
    MODEL_HELP,
    Json,
    Trust,
    check_writable,
    command,
    print_facts,
    print_json,
    print_table,
    progress_bar,
)
from hubserve.cli.profile import app as profile_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Searched neural architectures in production: model spaces, pre-searched models, export, latency, serving.",
)

app.add_typer(alias_app, name="alias")
app.add_typer(profile_app, name="profile")
app.add_typer(latency_table_app, name="latency-table")

Model = Annotated[str, typer.Argument(help=MODEL_HELP)]


class Form(StrEnum):
    """Exported forms of a model."""

    onnx = "onnx"
    torchscript = "torchscript"
    pt2 = "pt2"
    onnx_fp16 = "onnx-fp16"
    onnx_int8 = "onnx-int8"


class Backend(StrEnum):
    """What runs a model."""

    onnx = "onnx"
    torchscript = "torchscript"
    pt2 = "pt2"
    onnx_fp16 = "onnx-fp16"
    onnx_int8 = "onnx-int8"
    openvino = "openvino"
    eager = "eager"


def _version(wanted: bool) -> None:
    if wanted:
        from hubserve import __version__

        typer.echo(f"hubserve {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Callback of all commands."""


@app.command()
@command
def spaces(
    space: Annotated[str | None, typer.Argument(help="One space, for its choices.")] = None, as_json: Json = False
) -> None:
    """List the model spaces, or show one."""
    from hubserve.cli.listings import space_page, space_rows

    if space is None:
        rows = space_rows()
        if as_json:
            return print_json(rows)
        table = [(row["name"], row["choices"], row["size"], row["input_size"], row["paper"]) for row in rows]
        return print_table("Model spaces", ("space", "choices", "different archs", "input", "paper"), table)
    page = space_page(space)
    if as_json:
        return print_json(page)
    facts = {name: page[name] for name in ("summary", "paper", "exact_size", "input_size", "settings")}
    print_facts(space, {**facts, "models": ", ".join(page["models"]) or None})
    choices = [(c["label"], ", ".join(map(str, c["candidates"])), c["matters_if"]) for c in page["choices"]]
    return print_table("Choices", ("label", "candidates", "matters if"), choices)


@app.command()
@command
def models(
    model: Annotated[str | None, typer.Argument(help="An alias, a name or tag in the store, or a pre-searched model.")] = None,
    as_json: Json = False,
) -> None:
    """List the pre-searched models and those in the store, or show one."""
    from hubserve.cli.listings import card_rows, model_page, store_rows

    if model is not None:
        page = model_page(model)
        return print_json(page) if as_json else print_facts(model, page)
    cards, stored = card_rows(), store_rows()
    if as_json:
        return print_json({"cards": cards, "store": stored})
    table = [(c["name"], c["space"], c["top1"], c["input_size"], c["summary"]) for c in cards]
    print_table("Pre-searched models", ("name", "space", "top-1 %", "input", ""), table)
    rows = [(s["tag"], s["space"], s["weights"], s["created"], s["problem"]) for s in stored]
    return print_table("In the store", ("tag", "space", "weights", "published", "problem"), rows)


@app.command()
@command
def draw(
    model: Annotated[str | None, typer.Argument(help="A pre-searched model; or give --space and --arch.")] = None,
    out: Annotated[Path | None, typer.Option(help="Picture file (.svg, .png, .pdf); NAME.svg unless given.")] = None,
    space: Annotated[str | None, typer.Option(help="A model space, for an arch of your own.")] = None,
    arch: Annotated[Path | None, typer.Option(help="JSON file: label -> value; a random arch unless given.")] = None,
    settings: Annotated[Path | None, typer.Option(help="JSON file: settings of the space.")] = None,
    as_json: Json = False,
) -> None:
    """Draw an arch: its cells as graphs, or its blocks in a row.

    hubserve draw darts-v2 --out darts.svg
    """
    from hubserve.cli.model_options import drawn_arch
    from hubserve.drawing import draw as draw_arch

    title, built, chosen = drawn_arch(model, space=space, arch=arch, settings=settings)
    path = out or Path(f"{title}.svg")
    check_writable(path)
    draw_arch(built, chosen, path, title=title)
    return print_json({"path": str(path), "arch": chosen}) if as_json else typer.echo(path)


@app.command()
@command
def export(
    model: Annotated[str | None, typer.Argument(help=f"{MODEL_HELP} Or give --space and --arch.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the package; the model's name unless given.")] = None,
    space: Annotated[str | None, typer.Option(help="A model space, for an arch of your own.")] = None,
    arch: Annotated[Path | None, typer.Option(help="JSON file: label -> value.")] = None,
    settings: Annotated[Path | None, typer.Option(help="JSON file: settings of the space.")] = None,
    weights: Annotated[Path | None, typer.Option(help="File of weights (.pth or .safetensors).")] = None,
    key_format: Annotated[str | None, typer.Option(help="Whose tensor names that file has: nni, timm, ...")] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Fresh weights in place of published ones.")] = False,
    formats: Annotated[list[Form] | None, typer.Option("--format", help="Forms; all in float32 unless given.")] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Folder of pictures to compare the forms on; onnx-int8 needs one, to learn ranges. "
            "With a sub-folder for each class their accuracies are told too."
        ),
    ] = None,
    max_pictures: Annotated[int, typer.Option(min=16, help="Most pictures to take from there.")] = 200,
    triton: Annotated[Path | None, typer.Option(help="Also add the model to this Triton model repository.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Measure it too, and put the report in.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a package that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a package: ONNX, TorchScript, weights, labels, and the proof that all answer alike.

    hubserve export efficientnet-lite0 --out lite0

    hubserve export --space ProxylessNAS --arch arch.json --out mine

    hubserve export lite0 --format onnx --format onnx-int8 --pictures imagenet/val --out lite0-int8
    """
    from hubserve.cli.export import accuracy_note, parity_rows, write
    from hubserve.cli.model_options import source_of

    source = source_of(
        model, space=space, arch=arch, settings=settings, weights=weights, key_format=key_format, random_weights=random_weights
    )
    package = write(
        source,
        out or Path(source.name),
        forms=formats,
        pictures=pictures,
        max_pictures=max_pictures,
        triton=triton,
        profile=profile,
        overwrite=overwrite,
    )
    if as_json:
        return print_json({"path": str(package.path), "manifest": package.manifest.model_dump(mode="json")})
    print_table(f"{package.path}: as eager PyTorch", *parity_rows(package))
    note = accuracy_note(package)
    return typer.echo(note, err=True) if note is not None else None


@app.command("eval")
@command
def evaluate_model(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Folder with a sub-folder of pictures for each class.")],
    backend: Annotated[Backend, typer.Option(help="What runs the model.")] = Backend.onnx,
    url: Annotated[str | None, typer.Option(help="Ask the service at this address instead.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 16,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Judge a model over a folder of labelled pictures: top-1 and top-5.

    A folder is a class by its WordNet id (ImageNet's layout), by the class's name, or by its place.
    """
    from hubserve.accuracy import evaluate
    from hubserve.cli.model_options import classifier_of
    from hubserve.data.image_folder import open_pictures

    with classifier_of(model, backend.value, url, trusted=trust) as (classifier, labels):
        pictures = open_pictures(folder, labels)
        with progress_bar(model, len(pictures.items)) as advance:
            report = evaluate(
                classifier,
                pictures,
                model=model,
                backend="http" if url else backend.value,
                batch_size=batch_size,
                advance=advance,
            )
    if as_json:
        return print_json(report.model_dump(mode="json"))
    low, high = report.top1_interval
    return print_facts(
        f"{model} on {folder}",
        {
            "top-1": f"{report.top1:.2f} %  ({report.top1_hits} of {report.images}; 95 % interval {low:.1f} to {high:.1f})",
            "top-5": f"{report.top5:.2f} %  ({report.top5_hits} of {report.images})",
            "run by": report.backend,
            "folders are classes by": report.rule,
            "unreadable": ", ".join(report.unreadable) or None,
            "seconds": f"{report.seconds:.1f}",
        },
    )


@app.command()
@command
def publish(
    model: Model,
    name: Annotated[str | None, typer.Option(help="Name in the store; the model's own unless given.")] = None,
    version: Annotated[str | None, typer.Option(help="Version; the content decides unless given.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Measure it first, and put the report into the package.")] = False,
    as_json: Json = False,
) -> None:
    """Put a model into the store; a running service serves it at once."""
    from hubserve import store
    from hubserve.cli.latency_reports import with_profile
    from hubserve.cli.resolve_model import open_package

    with open_package(model) as package:
        if profile:
            package = with_profile(model, package)
        stored = store.publish(package.path, name=name, version=version)
    if as_json:
        return print_json({"tag": stored.tag, "path": str(stored.path)})
    return typer.echo(stored.tag)


@app.command()
@command
def predict(
    model: Model,
    pictures: Annotated[list[Path], typer.Argument(help="Picture files.")],
    top_k: Annotated[int | None, typer.Option(min=1, help="Classes to name; 5 unless given.")] = None,
    as_json: Json = False,
) -> None:
    """Classify picture files, without a server."""
    from hubserve.cli.model_options import read_picture
    from hubserve.cli.resolve_model import open_package
    from hubserve.service.engine import Engine

    with open_package(model) as package:
        engine = Engine(package)
        answers = {str(path): engine.classify(read_picture(path), top_k=top_k).predictions for path in pictures}
    if as_json:
        return print_json({path: [p.model_dump() for p in answer] for path, answer in answers.items()})
    for path, answer in answers.items():
        print_table(path, ("class", "probability", "index"), [(p.label, f"{p.probability:.4f}", p.index) for p in answer])
    return None


@app.command()
@command
def serve(
    host: Annotated[str, typer.Option(help="Address to bind; loopback unless told otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 3000,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name, tag or alias that answers where a request names none; else the alias production, or the newest."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve every model in the store over HTTP; stop with Ctrl-C. --json first prints the address and the process."""
    import os
    import sys

    from hubserve.service.launch import serve as start
    from hubserve.service.settings import Settings
    from hubserve.store import aliases

    Settings.from_environment()  # What makes no sense is told here, not by a server that starts over and over.
    if model is not None:
        aliases.resolve(model)
    if as_json:
        print_json({"url": f"http://{host}:{port}", "pid": os.getpid()})
        sys.stdout.flush()
    start(host=host, port=port, model=model)


@app.command()
@command
def delete(tag: Annotated[str, typer.Argument(help="Name or tag in the store.")], as_json: Json = False) -> None:
    """Take a version out of the store."""
    from hubserve import store

    stored = store.resolve(tag)
    store.delete(stored.tag)
    return print_json({"deleted": stored.tag}) if as_json else typer.echo(f"deleted {stored.tag}")


@app.command("store-export")
@command
def store_export(
    tag: Annotated[str, typer.Argument(help="Name or tag in the store.")],
    path: Annotated[Path, typer.Argument(help="Folder or file to write.")],
    as_json: Json = False,
) -> None:
    """Write a version as one file, to take it to another machine."""
    from hubserve import store

    written = store.export_model(tag, path)
    return print_json({"path": str(written)}) if as_json else typer.echo(written)


@app.command("store-import")
@command
def store_import(path: Annotated[Path, typer.Argument(help="File of store-export.")], as_json: Json = False) -> None:
    """Put a version from another machine into the store."""
    from hubserve import store

    stored = store.import_model(path)
    return print_json({"tag": stored.tag, "path": str(stored.path)}) if as_json else typer.echo(stored.tag)


@app.command()
@command
def search(
    job: Annotated[str | None, typer.Argument(help="A job file, or its name in search_jobs/; lists all unless given.")] = None,
    run: Annotated[Path | None, typer.Option(help="Go on with the job in this run folder.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest run of JOB that is not done.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say whether the job can run.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; `hubserve jobs` follows it.")] = False,
    as_json: Json = False,
) -> None:
    """Run a search job: search, retrain the winner, export, profile, publish; or go on with one.

    hubserve search digits_quickstart

    Exit codes: 0 done, 2 bad input, 3 nothing meets the constraints, 130 interrupted (it can go on).
    """
    from hubserve.cli.search import search as run_search

    run_search(job, run=run, resume=resume, check=check, detach=detach, as_json=as_json)


@app.command()
@command
def jobs(
    job: Annotated[str | None, typer.Argument(help="One job, by its id; lists all unless given.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End it; it can go on later.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with it in the background.")] = False,
    delete_it: Annotated[bool, typer.Option("--delete", help="Take its run folder away.")] = False,
    log: Annotated[int, typer.Option(min=0, help="Show the last lines of its log, this many.")] = 0,
    as_json: Json = False,
) -> None:
    """List the runs of search jobs, or show, stop, resume or delete one."""
    from hubserve.cli.search import manage

    manage(job, stop=stop, resume=resume, delete=delete_it, log=log, as_json=as_json)


@app.command()
@command
def plot(
    run: Annotated[str, typer.Argument(help="A job, by its id or its run folder.")],
    names: Annotated[list[str] | None, typer.Option("--picture", help="best, pareto, probabilities; all unless given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pictures; plots/ in the run folder unless given.")] = None,
    ending: Annotated[str, typer.Option("--as", help="svg, png or pdf.")] = "svg",
    as_json: Json = False,
) -> None:
    """Draw a search: best so far, accuracy against a cost, probabilities of a one-shot run."""
    from hubserve.cli.search import plot as draw_plots

    draw_plots(run, out=out, names=names, ending=ending, as_json=as_json)
