"""The command `hubserve shrink`, which cuts a trained model to a smaller and faster one for one's own images."""

from typing import Annotated

import typer

from hubserve.cli.output import Json


def shrink(
    model: Annotated[str, typer.Argument(help="A pre-searched model, a model of the store, or a package folder.")],
    data: Annotated[
        str,
        typer.Argument(
            help="Folder with a folder of images for each class, or train/, val/, test/; a CSV or Parquet listing; hf://owner/name."
        ),
    ],
    latency_ms: Annotated[float | None, typer.Option(help="Largest latency, measured on this machine, in ms.")] = None,
    latency_share: Annotated[
        float | None, typer.Option(help="Largest latency as a share of the whole network's, measured here: 0.5 is half.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to publish it under; that of DATA with -small unless given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of training and search; 10 unless --epochs is given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the training images, at least 2.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the network's input in pixels; proposed unless given.")] = None,
    fit: Annotated[str | None, typer.Option(help="crop, pad or squash: how long images fit; proposed unless given.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe, such as learning_rate=0.01 or augment.mixup=0.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest run of that name that is not done.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it can run; --check=all decodes all images.")
    ] = False,
    check_all: Annotated[bool, typer.Option("--check-all", hidden=True, help="The same as --check=all.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; `hubserve jobs` follows it.")] = False,
    as_json: Json = False,
) -> None:
    """Cut a model to the best smaller one within a latency limit, fine-tuned on your own images; test, export, publish.

    hubserve shrink efficientnet-lite0 photos --latency-ms 5 --minutes 15

    Exit codes: 0 done, 2 bad input, 3 no network is fast enough, 130 interrupted (it can go on).
    """
    from hubserve.cli.shrink import shrink as run_shrink

    budget = {"minutes": minutes, "epochs": epochs}
    images = {"size": size, "fit": fit}
    limits = {"latency_ms": latency_ms, "latency_share": latency_share}
    run_shrink(
        model, data, limits=limits, name=name, budget=budget, images=images, settings=set_ or [], seed=seed,
        resume=resume, check="all" if check_all else "auto" if check else None, detach=detach, as_json=as_json,
    )  # fmt: skip
