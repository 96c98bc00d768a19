"""The commands `hubserve finetune` and `hubserve shrink`, which train a model on one's own images."""

from typing import Annotated

import typer

from hubserve.cli.output import CheckAll, Detach, Json, check_kind

Start = Annotated[str, typer.Argument(help="A pre-searched model, a model of the store, or a package folder.")]
Data = Annotated[
    str,
    typer.Argument(
        help="Folder with a folder of images for each class, or train/, val/, test/; a CSV or Parquet listing; hf://owner/name."
    ),
]
Size = Annotated[int | None, typer.Option(help="Side of the network's input in pixels; proposed unless given.")]
Fit = Annotated[str | None, typer.Option(help="crop, pad or squash: how long images fit; proposed unless given.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe, such as learning_rate=0.01 or augment.mixup=0.")
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the newest run of that name that is not done.")]
Check = Annotated[bool, typer.Option("--check", help="Only say whether it can run; --check=all decodes all images.")]


def finetune(
    model: Start,
    data: Data,
    name: Annotated[str | None, typer.Option(help="Name to publish it under; that of DATA unless given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of training; 10 unless --epochs is given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the training images.")] = None,
    devices: Annotated[
        int | None,
        typer.Option(help="Number of GPUs, or of processes without a GPU, that train together; 1 unless given."),
    ] = None,
    size: Size = None,
    fit: Fit = None,
    set_: Set = None,
    seed: Seed = 0,
    resume: Resume = False,
    check: Check = False,
    check_all: CheckAll = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on your own images: new classes, training, test, export, profile, publish.

    hubserve finetune efficientnet-lite0 photos --name flowers --minutes 10

    Exit codes: 0 done, 2 bad input, 130 interrupted (it can go on).
    """
    from hubserve.cli.finetune import ImageJobOptions
    from hubserve.cli.finetune import finetune as run_finetune

    options = ImageJobOptions(model, data, name, minutes, epochs, size, fit, tuple(set_ or ()), seed, devices)
    run_finetune(options, resume=resume, check=check_kind(check, check_all), detach=detach, as_json=as_json)


def shrink(
    model: Start,
    data: Data,
    latency_ms: Annotated[float | None, typer.Option(help="Largest latency, measured on this machine, in ms.")] = None,
    latency_share: Annotated[
        float | None, typer.Option(help="Largest latency as a share of the whole network's, measured here: 0.5 is half.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to publish it under; that of DATA with -small unless given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of training and search; 10 unless --epochs is given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the training images, at least 2.")] = None,
    size: Size = None,
    fit: Fit = None,
    set_: Set = None,
    seed: Seed = 0,
    resume: Resume = False,
    check: Check = False,
    check_all: CheckAll = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Cut a model to the best smaller one within a latency limit, fine-tuned on your own images; test, export, publish.

    hubserve shrink efficientnet-lite0 photos --latency-ms 5 --minutes 15

    Exit codes: 0 done, 2 bad input, 3 no network is fast enough, 130 interrupted (it can go on).
    """
    from hubserve.cli.finetune import ImageJobOptions
    from hubserve.cli.finetune import shrink as run_shrink

    options = ImageJobOptions(model, data, name, minutes, epochs, size, fit, tuple(set_ or ()), seed)
    limits = {"latency_ms": latency_ms, "latency_share": latency_share}
    run_shrink(options, limits, resume=resume, check=check_kind(check, check_all), detach=detach, as_json=as_json)
