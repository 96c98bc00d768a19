"""Writes the package of `hubserve export`, with its profile and Triton entry, and formats its parity reports as a table."""

from collections.abc import Sequence
from pathlib import Path

import typer

from hubserve.cli.latency_reports import with_profile
from hubserve.cli.output_files import check_folder_writable
from hubserve.data.image_batches import ImageBatches, image_batches
from hubserve.errors import DatasetError
from hubserve.export.model_source import ModelSource
from hubserve.export.triton_repository import check_entry, write_triton
from hubserve.export.write_package import write_package
from hubserve.package.add_files import check_target
from hubserve.package.formats import default_formats, unsupported_format
from hubserve.package.manifest import ALL_FORMATS, DEFAULT_FORMATS
from hubserve.package.package import Package
from hubserve.package.parity import LabelledAccuracy


def write(
    source: ModelSource,
    folder: Path,
    *,
    formats: Sequence[str] | None,
    images: Path | None,
    max_images: int,
    triton: Path | None,
    profile: bool,
    overwrite: bool,
) -> Package:
    """Writes the package of a model, optionally with its profile, and optionally adds it to a Triton model repository.

    Args:
        source: Model to export.
        folder: Folder of the package.
        formats: Names of the formats to export; None takes those of `DEFAULT_FORMATS` that this version of Python supports.
        images: Folder of images on which the formats are compared; None compares them on generated images only.
        max_images: Largest number of these images to use.
        triton: Folder of the Triton model repository; None adds no entry.
        profile: Whether to measure the profile and add it to the package.
        overwrite: Whether to replace an existing package at `folder`.

    Raises:
        DatasetError: The folder does not exist, or has no readable image.
        OtherInputsError: `images` are given for a model of other inputs.
        ExportError: A format cannot be written, its logits differ (ParityError), or no entry can be added to the repository.
        PackageError: `folder` exists and may not be replaced, or `write_package` refuses the model.
        OutputError: The folder in which `folder` lies cannot be written.
        ProfileError: The profile cannot be measured.
    """
    chosen = default_formats() if formats is None else tuple(name for name in ALL_FORMATS if name in formats)
    for name in DEFAULT_FORMATS if formats is None else ():
        if (reason := unsupported_format(name)) is not None:
            typer.echo(f"{name} is not exported: {reason}", err=True)
    if triton is not None:
        check_entry(triton, source.name, chosen)  # Reports an error before an export that may take minutes.
    check_target(folder, overwrite)
    check_folder_writable(folder.absolute().parent)
    if images is not None and not images.is_dir():
        raise DatasetError(f"{images} is not a folder of images")
    read = ImageBatches([], [])
    if images is not None:
        read = image_batches(images, source.image_preprocess, source.labels, most=max_images)
    package = write_package(source, folder, formats=chosen, images=read.batches, classes=read.classes, overwrite=overwrite)
    if profile:
        package = with_profile(str(folder), package)
    if triton is not None:
        write_triton(package, triton)
    return package


def parity_rows(package: Package) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the columns and rows of a table of how much each format differs from eager PyTorch.

    If the true classes of images are known, the table also has the accuracies.
    """
    reports = package.parity
    columns: tuple[str, ...] = ("format", "largest error", "standard deviation of logits", "same top-1")
    rows: list[tuple[str, ...]] = [
        (r.format, f"{r.max_abs_error:.2g}", f"{r.scale:.3g}", f"{r.top1_agreement:.{0 if r.top1_agreement == 1 else 1}%}")
        for r in reports
    ]
    if any(report.truth for report in reports):
        columns += ("top-1 %", "top-1 % of eager PyTorch", "images")
        rows = [(*row, *_accuracy(r.truth)) for row, r in zip(rows, reports, strict=True)]
    return columns, rows


def accuracy_note(package: Package) -> str | None:
    """Returns a warning if a format may have lost accuracy and the loss was not measured; None otherwise."""
    unknown = [r.format for r in package.parity if r.tolerance is None and r.truth is None]
    if not unknown:
        return None
    return (
        f"{', '.join(unknown)}: how much accuracy was lost is not known, only how often the top-1 class agrees with eager "
        "PyTorch; to measure it, give --images a folder with a sub-folder for each class"
    )


def _accuracy(truth: LabelledAccuracy | None) -> tuple[str, str, str]:
    if truth is None:
        return "", "", ""
    return f"{truth.top1:.1f}", f"{truth.reference_top1:.1f}", str(truth.images)
