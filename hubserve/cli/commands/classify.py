"""The commands `hubserve predict` and `hubserve eval`, which classify images or texts and measure accuracy on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hubserve.cli.output import Json, Model, Trust, print_json, print_table

if TYPE_CHECKING:
    from hubserve.service.engine import Answer

BackendOption = Literal[
    "onnx",
    "torchscript",
    "pt2",
    "onnx-fp16",
    "onnx-int8",
    "executorch",
    "executorch-int8",
    "litert",
    "litert-int8",
    "ncnn",
    "openvino",
    "eager",
]


def predict(
    model: Model,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Image files, or patterns such as 'photos/*.jpg'; with --out also a folder, or a CSV or Parquet listing."
        ),
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--text", help="A text, for a text classifier, in place of images; may be repeated.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Classes to name; 5 unless given.")] = None,
    features: Annotated[bool, typer.Option("--features", help="Also the features: the input of the last layer.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write a row for each image: .parquet, .csv or .jsonl; a second call goes on.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads, with --out; as many as cores unless given.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="With --out: begin anew, and replace what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Classify image files, or texts, without a server.

    A file that is no readable image is named on stderr, the others are answered for, and the exit code is 2.

    With --out, folders of any size: on all cores, in parts, so that a killed run goes on when it is called again.
    """
    from hubserve.cli.exit_codes import BAD_INPUT, error_entry, print_error
    from hubserve.cli.image_files import check_files, classified_files, image_files
    from hubserve.cli.predict_to_file import write_rows
    from hubserve.cli.resolve_model import open_package
    from hubserve.package.run_limit import interruptible
    from hubserve.service.engine import Engine

    if texts:
        from hubserve.cli.text_predictions import predict_texts

        others = {"IMAGES": bool(images), "--features": features, "--out": out is not None, "--workers": workers is not None}
        predict_texts(model, texts, top_k=top_k, as_json=as_json, without_effect=others | {"--restart": restart})
        return
    if not images:
        raise typer.BadParameter("missing argument 'IMAGES...': name image files, or give --text for a text classifier")
    if out is not None:
        write_rows(model, images, out, top_k=top_k, features=features, workers=workers, restart=restart, as_json=as_json)
        return
    check_files(images, without_effect={"--workers": workers is not None, "--restart": restart})
    paths = image_files(images)
    with open_package(model) as package, interruptible():
        engine = Engine(package)
        answers, refused = classified_files(lambda data: engine.classify(data, top_k=top_k, features=features), paths)
    if as_json or features:
        print_json(_document(answers, features) | {path: {"error": error_entry(error)} for path, error in refused.items()})
    else:
        for path, answer in answers.items():
            rows = [(p.label, f"{p.probability:.4f}", p.index) for p in answer.predictions]
            print_table(path, ("class", "probability", "index"), rows)
    for error in refused.values():
        print_error(error)
    if refused:
        raise typer.Exit(BAD_INPUT)


def _document(answers: "Mapping[str, Answer]", features: bool) -> dict[str, Any]:
    """Returns the answers as JSON, by the path of the file: predictions, or an object with predictions and features."""
    named = {path: [prediction.model_dump() for prediction in answer.predictions] for path, answer in answers.items()}
    if not features:
        return {**named}
    vectors = {path: [] if answer.features is None else answer.features.tolist() for path, answer in answers.items()}
    return {path: {"predictions": named[path], "features": vectors[path]} for path in answers}


def evaluate_model(
    model: Model,
    folder: Annotated[
        str,
        typer.Argument(
            help="Folder with a sub-folder of images, or of .txt files, for each class, a CSV or Parquet listing, or hf://owner/name."
        ),
    ],
    backend: Annotated[BackendOption, typer.Option(help="What runs the model.")] = "onnx",
    url: Annotated[str | None, typer.Option(help="Ask the service at this address instead.")] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=["HUBSERVE_READ_TOKEN", "HUBSERVE_TOKEN"],
            show_envvar=True,
            help="Token of that service; give it in the environment, where other users cannot see it.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images, or texts, in a batch.")] = 16,
    confusion: Annotated[
        Path | None, typer.Option(help="Draw the confusion matrix into this file: .svg, .png or .pdf.")
    ] = None,
    by_order: Annotated[
        bool,
        typer.Option("--by-order", help="The folders, sorted by name, are the model's classes in their order."),
    ] = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Measure how accurate a model is on labelled images or texts: in all, by class, what it confuses, and its calibration.

    The report is the one of a job's test. A folder is matched with a class by its WordNet id (ImageNet's layout), by the name
    of the class, by its index, or with --by-order by its position.
    """
    from hubserve.cli.evaluate import evaluate_model as run_evaluation

    run_evaluation(
        model,
        folder,
        backend=backend,
        url=url,
        token=token,
        batch_size=batch_size,
        confusion=confusion,
        by_order=by_order,
        trust=trust,
        as_json=as_json,
    )
