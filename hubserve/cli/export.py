"""What `hubserve export` does once it knows what to export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hubserve.cli.image_batches import picture_batches
from hubserve.cli.latency_reports import with_profile
from hubserve.export.triton import check_entry, write_triton
from hubserve.export.write import Source, write_package
from hubserve.package.manifest import ALL_FORMATS, DEFAULT_FORMATS
from hubserve.package.package import Package
from hubserve.package.parity import Truth
from hubserve.package.runner import Batch


def write(
    source: Source,
    folder: Path,
    *,
    forms: Sequence[str] | None,
    pictures: Path | None,
    max_pictures: int,
    triton: Path | None,
    profile: bool,
    overwrite: bool,
) -> Package:
    """Writes the package, its profile, and its entry in a Triton model repository.

    Raises:
        DatasetError: no pictures where they should be.
        ExportError, PackageError: see `write_package` and `write_triton`.
    """
    chosen = DEFAULT_FORMATS if forms is None else tuple(form for form in ALL_FORMATS if form in forms)
    if triton is not None:
        check_entry(triton, source.name, chosen)  # Before minutes are spent on what has no place.
    batches: list[Batch] = []
    classes: list[int] = []
    if pictures is not None:
        batches, classes = picture_batches(pictures, source.preprocess, source.labels, most=max_pictures)
    package = write_package(source, folder, formats=chosen, pictures=batches, classes=classes, overwrite=overwrite)
    if profile:
        package = with_profile(str(folder), package)
    if triton is not None:
        write_triton(package, triton)
    return package


def parity_rows(package: Package) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: how far each form is from eager PyTorch; with accuracies where the classes were known."""
    reports = package.parity
    columns: tuple[str, ...] = ("form", "largest error", "logits' sd", "same top-1")
    rows: list[tuple[str, ...]] = [
        (r.format, f"{r.max_abs_error:.2g}", f"{r.scale:.3g}", f"{r.top1_agreement:.{0 if r.top1_agreement == 1 else 1}%}")
        for r in reports
    ]
    if any(report.truth for report in reports):
        columns += ("top-1 %", "eager's top-1 %", "pictures")
        rows = [(*row, *_accuracy(r.truth)) for row, r in zip(rows, reports, strict=True)]
    return columns, rows


def accuracy_note(package: Package) -> str | None:
    """Says so where a form gave up accuracy and nobody knows how much; None where that is known, or none did."""
    unknown = [r.format for r in package.parity if r.tolerance is None and r.truth is None]
    if not unknown:
        return None
    return (
        f"{', '.join(unknown)}: how much accuracy it lost is not known, only how often it agrees with eager PyTorch; for that "
        "--pictures takes a folder with a sub-folder of pictures for each class"
    )


def _accuracy(truth: Truth | None) -> tuple[str, str, str]:
    if truth is None:
        return "", "", ""
    return f"{truth.top1:.1f}", f"{truth.reference_top1:.1f}", str(truth.pictures)
