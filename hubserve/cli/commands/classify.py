"""The commands `hubserve predict` and `hubserve eval`, which classify images and measure accuracy."""

from typing import Annotated, Literal

import typer

from hubserve.cli.output import Json, Model, Trust, print_facts, print_json, print_table, progress_bar

BackendOption = Literal["onnx", "torchscript", "pt2", "onnx-fp16", "onnx-int8", "openvino", "eager"]


def predict(
    model: Model,
    images: Annotated[list[str], typer.Argument(help="Image files, or patterns such as 'photos/*.jpg'.")],
    top_k: Annotated[int | None, typer.Option(min=1, help="Classes to name; 5 unless given.")] = None,
    as_json: Json = False,
) -> None:
    """Classify image files, without a server."""
    from hubserve.cli.image_files import image_files
    from hubserve.cli.resolve_model import open_package
    from hubserve.image_file import read_image_file
    from hubserve.package.run_limit import interruptible
    from hubserve.service.engine import Engine

    paths = image_files(images)
    with open_package(model) as package, interruptible():
        engine = Engine(package)
        answers = {str(path): engine.classify(read_image_file(path), top_k=top_k).predictions for path in paths}
    if as_json:
        return print_json({path: [p.model_dump() for p in answer] for path, answer in answers.items()})
    for path, answer in answers.items():
        print_table(path, ("class", "probability", "index"), [(p.label, f"{p.probability:.4f}", p.index) for p in answer])
    return None


def evaluate_model(
    model: Model,
    folder: Annotated[
        str,
        typer.Argument(help="Folder with a sub-folder of images for each class, a CSV or Parquet listing, or hf://owner/name."),
    ],
    backend: Annotated[BackendOption, typer.Option(help="What runs the model.")] = "onnx",
    url: Annotated[str | None, typer.Option(help="Ask the service at this address instead.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a batch.")] = 16,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Measure the top-1 and top-5 accuracy of a model on a folder of labelled images.

    A folder is matched with a class by its WordNet id (ImageNet's layout), by the name of the class, or by its position.
    """
    from hubserve.accuracy import evaluate
    from hubserve.cli.model_options import classifier_of
    from hubserve.data.folder_walk import left_out_text
    from hubserve.data.image_folder import labelled_images
    from hubserve.package.run_limit import interruptible

    with interruptible(), classifier_of(model, backend, url, trusted=trust) as (classifier, package):
        origin = package.manifest.provenance
        trained = (origin.fine_tuning or origin.search).get("data_found", {})
        images = labelled_images(folder, package.labels, trained)
        with progress_bar(model, len(images.items)) as advance:
            report = evaluate(
                classifier, images, model=model, backend="http" if url else backend, batch_size=batch_size, advance=advance
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
            "images": "those that were drawn to test it, of the data that it was trained on" if images.drawn else None,
            "left out": left_out_text(images.left_out) or None,
            "unreadable": ", ".join(report.unreadable) or None,
            "seconds": f"{report.seconds:.1f}",
        },
    )
