"""Assembles the command line `hubserve` from its commands.

`hubserve.cli.output` prints results, and `hubserve.cli.exit_codes` reports errors and sets exit codes.
"""

from typing import Annotated

import typer

from hubserve.cli.commands import (
    alias,
    classify,
    compare,
    doctor,
    export,
    finetune,
    hub,
    jobs,
    latency_table,
    profile,
    push_and_pull,
    serve,
    store,
)
from hubserve.cli.exit_codes import CommandGroup
from hubserve.cli.output import CheckCommand

app = CommandGroup(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Searched neural architectures in production: model spaces, pre-searched models, export, latency, serving.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from hubserve import __version__

        typer.echo(f"hubserve {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Takes the options of `hubserve` itself, which stand before the name of a command."""


app.command()(hub.spaces)
app.command()(hub.models)
app.command()(hub.draw)
app.command()(classify.predict)
app.command("eval")(classify.evaluate_model)
app.command()(export.export)
app.add_typer(profile.app, name="profile")
app.add_typer(latency_table.app, name="latency-table")
app.command()(store.publish)
app.command()(store.delete)
app.command("store-export")(store.store_export)
app.command("store-import")(store.store_import)
app.command()(push_and_pull.push)
app.command()(push_and_pull.pull)
app.add_typer(alias.app, name="alias")
app.command()(serve.serve)
app.command(cls=CheckCommand)(finetune.finetune)
app.command(cls=CheckCommand)(finetune.shrink)
app.command(cls=CheckCommand)(jobs.search)
app.command()(compare.compare)
app.command()(jobs.jobs)
app.command()(jobs.exports)
app.command()(jobs.plot)
app.command()(doctor.doctor)
