"""The command `hubserve export`, which writes a package."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hubserve.cli.output import MODEL_HELP, SPACE_HELP, Json, Trust, print_json, print_table
from hubserve.cli.output_files import check_folder_writable

FormatOption = StrEnum(
    "FormatOption", "onnx torchscript pt2 onnx-fp16 onnx-int8 executorch executorch-int8 litert litert-int8 ncnn"
)


def export(
    model: Annotated[str | None, typer.Argument(help=f"{MODEL_HELP} Or give --space and --arch.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the package; the model's name unless given.")] = None,
    space: Annotated[str | None, typer.Option(help=f"{SPACE_HELP} For an arch of your own.")] = None,
    arch: Annotated[Path | None, typer.Option(help="JSON file: label -> value.")] = None,
    settings: Annotated[Path | None, typer.Option(help="JSON file: settings of the space.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="File of weights (.pth or .safetensors), or a folder that has it.")
    ] = None,
    key_format: Annotated[str | None, typer.Option(help="Naming scheme of the tensors in that file: nni, timm, ...")] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Random weights instead of published ones.")] = False,
    labels: Annotated[Path | None, typer.Option(help="Text file: one label per line, in the order of the logits.")] = None,
    preprocess: Annotated[Path | None, typer.Option(help="JSON file: input_size, resize, mean, std, ...")] = None,
    like: Annotated[str | None, typer.Option(help="Take labels and preprocessing of this model.")] = None,
    formats: Annotated[
        list[FormatOption] | None,
        typer.Option("--format", help="A format to export; may be given several times. All float32 formats unless given."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images to compare the formats on; 8-bit formats need one, to calibrate their ranges. "
            "With a sub-folder for each class, the accuracy of each format is reported too."
        ),
    ] = None,
    max_images: Annotated[int, typer.Option(min=16, help="Largest number of images to read from there.")] = 200,
    triton: Annotated[Path | None, typer.Option(help="Also add the model to this Triton model repository.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Measure its latency and add the report to the package.")] = False,
    trust: Trust = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a package that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a package: ONNX, TorchScript, weights, labels, and the proof that every format gives the same logits.

    hubserve export efficientnet-lite0 --out lite0

    hubserve export --space ProxylessNAS --arch arch.json --out mine

    hubserve export --space mypkg.spaces:Small --arch arch.json --out mine

    hubserve export lite0 --format onnx --format onnx-int8 --images imagenet/val --out lite0-int8

    hubserve export lite0 --format executorch --format litert --format ncnn --out lite0-mobile
    """
    from hubserve.cli.export import accuracy_note, parity_rows, write
    from hubserve.cli.model_options import source_of

    check_folder_writable((out or Path("package")).absolute().parent)
    if triton is not None:
        check_folder_writable(triton)
    source = source_of(
        model,
        space=space,
        arch=arch,
        settings=settings,
        weights=weights,
        key_format=key_format,
        random_weights=random_weights,
        labels=labels,
        preprocess=preprocess,
        like=like,
        trusted=trust,
    )
    package = write(
        source,
        out or Path(source.name),
        formats=formats,
        images=images,
        max_images=max_images,
        triton=triton,
        profile=profile,
        overwrite=overwrite,
    )
    if as_json:
        return print_json({"path": str(package.path), "manifest": package.manifest.model_dump(mode="json")})
    print_table(f"{package.path}: compared with eager PyTorch", *parity_rows(package))
    note = accuracy_note(package)
    return typer.echo(note, err=True) if note is not None else None
