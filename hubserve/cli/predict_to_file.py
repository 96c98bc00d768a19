"""Runs `hubserve predict --out`: classifies the images of a folder, of a listing or of files, and prints a summary."""

from collections.abc import Sequence
from pathlib import Path

from hubserve.batch.image_source import image_source
from hubserve.batch.predict_files import worker_count
from hubserve.batch.rows import RowColumns
from hubserve.batch.run import check_output, predict_to_file
from hubserve.cli.image_files import image_files
from hubserve.cli.output import print_facts, print_json, progress_bar
from hubserve.cli.output_files import check_writable
from hubserve.cli.resolve_model import open_package
from hubserve.data.names import shown
from hubserve.package.predictions import number_of_predictions
from hubserve.package.run_limit import interruptible
from hubserve.service.engine import Engine


def write_rows(
    model: str,
    images: Sequence[str],
    out: Path,
    *,
    top_k: int | None,
    features: bool,
    workers: int | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Classifies images, writes a row for each into `out`, and prints a summary.

    Args:
        model: Package folder, alias, name or tag in the store, or pre-searched model.
        images: A folder, a listing, or files and patterns.
        out: File to write; its suffix says the format.
        top_k: Number of classes in a row; None takes 5, or all if the model has fewer.
        features: Whether rows have features.
        workers: Number of threads; None takes one for each core. There are fewer if memory is short.
        restart: Whether to begin anew, in place of going on with what an earlier call wrote into `out`.
        as_json: Whether to print the summary as JSON.

    Raises:
        OutputError: `out` has an unknown suffix, cannot be written or continued, or is a CSV file and `features` is True.
        ImageError: A name means no file.
        DatasetError: There is no image, or none of them is readable.
        TopKError: `top_k` is not between 1 and the number of classes.
        NoFeaturesError: `features` is True, and the package has none.
        HubserveError: The model cannot be found, loaded or run.
    """
    check_output(out, features=features)
    check_writable(out)
    source = image_source(images, image_files)
    with open_package(model) as package, interruptible():
        engine = Engine(package, callers=worker_count(workers))
        if features:
            engine.check_features()
        columns = RowColumns(number_of_predictions(top_k, len(engine.labels)), features)
        summary = predict_to_file(engine, source, out, columns, workers=workers, restart=restart, progress=progress_bar)
    if as_json:
        return print_json(summary.model_dump(mode="json"))
    rest = summary.unreadable - len(summary.first_unreadable)
    names = [*summary.first_unreadable, *([f"and {rest:,} more"] if rest > 0 else [])]
    unreadable = f"{summary.unreadable:,}: {', '.join(map(shown, names))}" if summary.unreadable else None
    return print_facts(
        f"{summary.model} on {' '.join(images[:3])}",
        {
            "rows": f"{summary.images:,} in {out}",
            "of an earlier run": f"{summary.continued:,}" if summary.continued else None,
            "unreadable": unreadable,
            "left out": ", ".join(f"{count:,} {kind}" for kind, count in summary.left_out.items()) or None,
            "seconds": f"{summary.seconds:.1f}",
        },
    )
