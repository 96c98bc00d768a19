"""The commands `hubserve publish`, `delete`, `store-export` and `store-import`, which change the model store."""

from pathlib import Path
from typing import Annotated

import typer

import hubserve
from hubserve.cli.output import Json, Model, print_json
from hubserve.cli.output_files import check_folder_writable, check_writable


def publish(
    model: Model,
    name: Annotated[str | None, typer.Option(help="Name in the store; the model's own unless given.")] = None,
    version: Annotated[str | None, typer.Option(help="Version; the content decides unless given.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Measure its latency, and add the report to the package.")] = False,
    as_json: Json = False,
) -> None:
    """Put a model into the store; a running service serves it within seconds."""
    from hubserve.cli.latency_reports import with_profile
    from hubserve.cli.resolve_model import open_package

    check_folder_writable(hubserve.store.bentoml_home() / "models")
    with open_package(model) as package:
        if profile:
            package = with_profile(model, package)
        stored = hubserve.store.publish(package.path, name=name, version=version)
    if as_json:
        return print_json({"tag": stored.tag, "path": str(stored.path)})
    return typer.echo(stored.tag)


def delete(
    tag: Annotated[str, typer.Argument(help="Tag name:version, or a name for its newest version.")], as_json: Json = False
) -> None:
    """Remove one version from the store; a name without a version means its newest one, and the others stay."""
    stored = hubserve.store.resolve(tag)
    hubserve.store.delete(stored.tag)
    return print_json({"deleted": stored.tag}) if as_json else typer.echo(f"deleted {stored.tag}")


def store_export(
    tag: Annotated[str, typer.Argument(help="Name or tag in the store.")],
    path: Annotated[Path, typer.Argument(help="Folder or file to write.")],
    as_json: Json = False,
) -> None:
    """Write a version in the store to one file, to move it to another machine."""
    if path.is_dir():
        check_folder_writable(path)
    else:
        check_writable(path)
    written = hubserve.store.export_model(tag, path)
    return print_json({"path": str(written)}) if as_json else typer.echo(written)


def store_import(path: Annotated[Path, typer.Argument(help="File of store-export.")], as_json: Json = False) -> None:
    """Put a version into the store from a file of store-export."""
    stored = hubserve.store.import_model(path)
    return print_json({"tag": stored.tag, "path": str(stored.path)}) if as_json else typer.echo(stored.tag)
