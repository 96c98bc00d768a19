"""Carries out `hubserve eval`: measures a model on labelled data and prints the report that the test of a job makes, too."""

from pathlib import Path

from hubserve.accuracy import Accuracy, evaluate
from hubserve.cli.accuracy_tables import calibration_text, print_accuracy
from hubserve.cli.evaluated_model import classifier_of
from hubserve.cli.output import print_facts, print_json, progress_bar
from hubserve.cli.output_files import check_writable
from hubserve.cli.resolve_model import open_package
from hubserve.cli.trained_on import TrainedOn, trained_on, training_facts
from hubserve.data.folder_walk import LeftOut, left_out_text
from hubserve.data.image_folder import LabelledImages, labelled_images
from hubserve.data.labelled_texts import LabelledTexts
from hubserve.package.package import Package
from hubserve.package.run_limit import interruptible


def evaluate_model(
    model: str,
    data: str,
    *,
    backend: str,
    url: str | None,
    token: str | None,
    batch_size: int,
    confusion: Path | None,
    by_order: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Carries out `hubserve eval`: measures the accuracy of a model on labelled data, and prints the report.

    Args:
        model: Package folder, alias, name or tag in the store, or pre-searched model.
        data: Folder with a sub-folder of images for each class, a listing, or an address such as hf://owner/name; for a text
            classifier, folder with a sub-folder of .txt files for each class, or a listing of texts.
        backend: "eager", "openvino", or an export format of the package; has no effect with `url`.
        url: Address of a service that classifies them; None runs the model in this process.
        token: Token of that service; None sends none.
        batch_size: Number of images or texts in a batch.
        confusion: File into which the confusion matrix is drawn; None draws none.
        by_order: Whether the classes of the data, sorted by name, are those of the model in the order of their indices.
        trust: Whether formats that are programs are loaded even if this user did not write them.
        as_json: Whether to print a JSON document in place of tables.

    Raises:
        DatasetError: There are no such images or texts, they do not match the model's classes, or the service refuses one.
        ExperimentError: The model has too many classes for a confusion matrix, or its file has an unknown ending.
        HubserveError: The model cannot be found, loaded or run, or a file cannot be written.
    """
    if confusion is not None:
        from hubserve.pipeline.plots import check_plot_ending, plot_confusion  # Needs the extra `plots`.

        check_plot_ending(confusion)
        check_writable(confusion)
    with (
        interruptible(),
        open_package(model, trusted=trust) as package,
        classifier_of(package, model, backend, url, token=token) as classifier,
    ):
        images = _labelled(package, data, by_order)
        seen = trained_on(package, images)
        with progress_bar(model, len(images.items)) as advance:
            found = evaluate(
                classifier,
                images,
                labels=package.labels,
                model=model,
                backend="http" if url else backend,
                dataset=data,
                temperature=package.manifest.temperature,
                batch_size=batch_size,
                advance=advance,
            )
    found = _with_note(found, seen)
    if confusion is not None:
        plot_confusion(found.accuracy, f"{package.manifest.name} on {data}", confusion)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found, f"{model} on {data}", images.left_out, confusion)


def _labelled(package: Package, data: str, by_order: bool) -> LabelledImages | LabelledTexts:
    """Returns the images, or for a text classifier the texts, with the classes that the model has for them."""
    trained = training_facts(package)
    found = trained.get("data_found", {})
    if not package.manifest.classifies_texts:
        return labelled_images(data, package.labels, found, by_order=by_order)
    from hubserve.data.read_labelled_texts import labelled_texts  # Imports torch.

    settings = trained.get("data", {}).get("settings", {})
    return labelled_texts(data, package.labels, {**found, "settings": settings}, by_order=by_order)


def _with_note(found: Accuracy, seen: TrainedOn) -> Accuracy:
    notes = found.accuracy.notes if seen.note is None else (seen.note, *found.accuracy.notes)
    return found.model_copy(update={"trained_on": seen.images, "accuracy": found.accuracy.model_copy(update={"notes": notes})})


def _print(found: Accuracy, title: str, left_out: tuple[LeftOut, ...], confusion: Path | None) -> None:
    low, high = found.top1_interval
    print_facts(
        title,
        {
            "top-1": f"{found.top1:.2f} %  ({found.top1_hits} of {found.images}; 95 % interval {low:.1f} to {high:.1f})",
            "top-5": f"{found.top5:.2f} %  ({found.top5_hits} of {found.images})",
            "calibration": calibration_text(found.accuracy),
            "run by": found.backend,
            "folders are classes by": found.rule,
            found.accuracy.items: "the test part of the data that it was trained on" if found.drawn else None,
            "left out": left_out_text(left_out) or None,
            "unreadable": ", ".join(found.unreadable) or None,
            "confusion": confusion,
            "seconds": f"{found.seconds:.1f}",
        },
    )
    print_accuracy(found.accuracy)
