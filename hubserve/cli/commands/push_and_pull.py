"""The commands `hubserve push` and `hubserve pull`, which copy models to and from Hugging Face, S3 and other folders."""

from pathlib import Path
from typing import Annotated

import typer

import hubserve
from hubserve.cli.output import Json, Model, print_json, progress_bar
from hubserve.cli.output_files import check_folder_writable

GB = 10**9


def push(
    model: Model,
    url: Annotated[str, typer.Argument(help="hf://OWNER/NAME, s3://BUCKET/FOLDER or file:///FOLDER.")],
    force: Annotated[bool, typer.Option("--force", help="Replace another package, or write beside other files.")] = False,
    private: Annotated[
        bool, typer.Option("--private", help="A repository that is created at Hugging Face is private.")
    ] = False,
    timm: Annotated[bool, typer.Option(help="Add config.json and model.safetensors for timm, where timm has the arch.")] = True,
    as_json: Json = False,
) -> None:
    """Copy a model to Hugging Face, S3 or a folder, with a model card; `pull` gets it from there."""
    import tempfile

    from hubserve.cli.resolve_model import open_package
    from hubserve.remote_files import parse_address

    parse_address(url)  # Reports an error before a pre-searched model is exported.
    with open_package(model) as package, tempfile.TemporaryDirectory(prefix="hubserve.timm.") as folder:
        beside: dict[str, Path] = {}
        if timm:
            from hubserve.export.timm_files import write_timm_files

            beside = write_timm_files(package, Path(folder))
        pushed = hubserve.store.push(package.path, url, force=force, private=private, beside=beside)
    if as_json:
        return print_json(
            {
                "url": pushed.url,
                "revision": pushed.revision,
                "sha256": pushed.sha256,
                "files": list(pushed.files),
                "bytes": pushed.bytes,
                "changed": pushed.changed,
            }
        )
    typer.echo(pushed.url if pushed.changed else f"{pushed.url} has this package already")
    return None


def pull(
    url: Annotated[str, typer.Argument(help="hf://OWNER/NAME, s3://BUCKET/FOLDER or file:///FOLDER.")],
    name: Annotated[str | None, typer.Option(help="Name in the store; the model's own unless given.")] = None,
    version: Annotated[str | None, typer.Option(help="Version in the store; the content decides unless given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the package into this folder, and not into the store.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a package in the folder of --out.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a repository at Hugging Face.")] = None,
    sha256: Annotated[str, typer.Option(help="SHA-256 that the manifest must have, or its first digits.")] = "",
    most_gb: Annotated[float, typer.Option(min=0, help="Largest size of the package in GB.")] = 16,
    as_json: Json = False,
) -> None:
    """Get a model that was pushed, hold it to its hashes, and put it into the store or a folder."""
    from hubserve.errors import OutputError

    most_bytes = int(most_gb * GB)
    if out is not None:
        if name is not None or version is not None:
            raise OutputError("--out writes a folder and not into the store: leave out --name and --version")
        check_folder_writable(out.absolute().parent)
        package = hubserve.store.pull_package(
            url, out, overwrite=overwrite, revision=revision, sha256=sha256, most_bytes=most_bytes, progress=progress_bar
        )
        return print_json({"path": str(package.path)}) if as_json else typer.echo(package.path)
    check_folder_writable(hubserve.store.bentoml_home() / "models")
    stored = hubserve.store.pull(
        url, name=name, version=version, revision=revision, sha256=sha256, most_bytes=most_bytes, progress=progress_bar
    )
    return print_json({"tag": stored.tag, "path": str(stored.path)}) if as_json else typer.echo(stored.tag)
