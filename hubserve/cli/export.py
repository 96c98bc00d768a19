"""What `hubserve export` does once it knows what to export."""

from collections.abc import Sequence
from pathlib import Path

import typer

from hubserve.cli.image_files import image_batches
from hubserve.cli.latency_reports import with_profile
from hubserve.cli.output import check_folder_writable
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
    """Writes the package, its profile, and its entry in a Triton model repository.

    Raises:
        DatasetError: the folder has no readable image.
        ExportError, PackageError: see `write_package` and `write_triton`.
    """
    chosen = default_formats() if formats is None else tuple(name for name in ALL_FORMATS if name in formats)
    for name in DEFAULT_FORMATS if formats is None else ():
        if (reason := unsupported_format(name)) is not None:
            typer.echo(f"{name} is not exported: {reason}", err=True)
    if triton is not None:
        check_entry(triton, source.name, chosen)  # Before minutes are spent on an export that cannot be stored there.
    check_target(folder, overwrite)
    check_folder_writable(folder.absolute().parent)
    batches, classes = image_batches(images, source.preprocess, source.labels, most=max_images) if images else ([], [])
    package = write_package(source, folder, formats=chosen, images=batches, classes=classes, overwrite=overwrite)
    if profile:
        package = with_profile(str(folder), package)
    if triton is not None:
        write_triton(package, triton)
    return package


def parity_rows(package: Package) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: how much each format differs from eager PyTorch, with accuracies where the true classes are known."""
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
    """A warning where a format may have lost accuracy and the loss was not measured; None otherwise."""
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
