"""Exports a model in every format, measures those that work on this machine, and says why the others do not."""

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from hubserve.data.image_batches import ImageBatches, image_batches
from hubserve.errors import ExportError, HubserveError
from hubserve.export.calibration_images import held_out
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.model_source import ModelSource
from hubserve.export.rebuild_model import rebuild_model
from hubserve.export.write_package import write_package
from hubserve.latency.format_table import FormatRow, FormatTable
from hubserve.latency.profile_package import Details, profile_package
from hubserve.latency.profile_report import ProfileReport
from hubserve.package.formats import unsupported_format
from hubserve.package.manifest import ALL_FORMATS, Format
from hubserve.package.package import Package
from hubserve.package.runner import Batch, Runner
from hubserve.timing import TimingProtocol
from hubserve.weights_warning import WeightsWarning

PERCENT = 50.0
"""Percentile of the latency that the table shows."""

NO_DATA = "no labelled images were given"

Judged = tuple[Sequence[Batch], list[int]]
"""Batches of prepared images, and the index of the class of each image, -1 where unknown; no index if none is known."""


@dataclass(frozen=True)
class _Accuracy:
    top1: float
    interval: tuple[float, float]


def profile_all_formats(
    source: ModelSource,
    *,
    data: Path | str | None = None,
    max_images: int = 200,
    formats: Sequence[Format] = ALL_FORMATS,
    batch_size: int = 1,
    threads: int = 1,
    seconds: float = 60.0,
    memory: bool = True,
) -> FormatTable:
    """Exports a model in each format, into a folder that is removed afterwards, and measures those that work on the CPU.

    Each file is compared with eager PyTorch, as by `write_package`. The accuracy of all formats is measured on the same images:
    every second batch of 8. The other batches calibrate the formats in 8-bit integers. The file of "onnx" is also run by
    OpenVINO.

    >>> from hubserve.export.named_source import named_source
    >>> table = profile_all_formats(named_source("efficientnet-lite0"), data="imagenet/val")  # doctest: +SKIP

    Args:
        source: Model to export, for instance from `hubserve.export.named_source.named_source`.
        data: Folder with a sub-folder of images for each class, a listing, or an address such as hf://owner/name; or a folder
            of images whose classes are not known, for which no accuracy is measured. With None, none is measured either, and
            formats in 8-bit integers fail, since nothing calibrates them.
        max_images: Largest number of images to use; they are drawn at random with a fixed seed. With fewer than 9, there is one
            batch, on which no accuracy is measured, and formats in 8-bit integers fail.
        formats: Formats to export.
        batch_size: Number of images in a call whose latency and memory are measured, at least 1.
        threads: Number of threads that a call may use, at least 1.
        seconds: Longest time in seconds to measure latency, for all formats together.
        memory: Whether to measure peak memory; only on Linux.

    Raises:
        OtherInputsError: The model has other inputs than images.
        DatasetError: There are no such images, or none is readable.
        ExportError: No format can be exported, or eager PyTorch has no finite logits.
        PackageError: The module cannot be rebuilt from its space, settings and arch, or `formats` is empty or has an unknown
            name.
        ProfileError: `batch_size` or `threads` is below 1, or a measurement failed.
    """
    images, preprocess = ImageBatches([], [], NO_DATA), source.image_preprocess
    if data is not None:
        images = image_batches(data, preprocess, source.labels, most=max_images)
    failed: dict[str, str] = {name: reason for name in formats if (reason := unsupported_format(name)) is not None}
    with tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        package = _exported(source, Path(folder) / "package", [name for name in formats if name not in failed], images, failed)
        openvino = _openvino_works(package, failed)
        report = profile_package(
            package,
            batch_size=batch_size,
            threads=threads,
            protocol=TimingProtocol(percent=PERCENT, max_seconds=seconds),
            details=Details(sweep_seconds=0, memory=memory, operators=False, openvino=openvino),
        )
        judged = held_out(images.batches, images.classes)
        accuracies = _accuracies(package, [row.format for row in report.formats], judged, threads)
    return FormatTable(
        model=report.model,
        created=report.created,
        host=report.host,
        batch_size=batch_size,
        threads=threads,
        data=None if data is None else str(data),
        labelled_images=sum(true >= 0 for true in judged[1]),
        calibration_images=sum(map(len, images.batches[::2])),
        accuracy_unknown=images.why_unknown if judged[1] else images.why_unknown or "there are too few images",
        rows=tuple(_row(report, row.format, accuracies.get(row.format)) for row in report.formats),
        failed=failed | report.left_out,
    )


def _exported(
    source: ModelSource, folder: Path, formats: Sequence[Format], images: ImageBatches, failed: dict[str, str]
) -> Package:
    """Writes a package with the formats that can be exported, adds to `failed` why the others cannot, and returns it."""
    errors: dict[Format, ExportError] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsWarning)  # They are about the use of the files, which are removed.
        package = write_package(source, folder, formats=formats, images=images.batches, classes=images.classes, failed=errors)
    failed |= {name: str(error.args[0]) for name, error in errors.items()}
    return package


def _openvino_works(package: Package, failed: dict[str, str]) -> bool:
    """Returns whether OpenVINO can run the file of the format "onnx"; if not, adds the reason to `failed`."""
    if "onnx" not in package.manifest.exports:
        failed["openvino"] = "it runs the file of onnx, which is not there"
        return False
    try:
        package.runner("openvino")
    except HubserveError as error:
        failed["openvino"] = str(error)
        return False
    return True


def _accuracies(package: Package, formats: Sequence[str], judged: Judged, threads: int) -> dict[str, _Accuracy]:
    """Returns the accuracy of each format on the same images; empty if the class of none is known."""
    batches, classes = judged
    true = np.asarray(classes, np.int64)
    known = true >= 0
    if not known.any():
        return {}
    found = {}
    for name in formats:
        runner = _runner(package, name, threads)
        given = np.concatenate([runner(batch).argmax(1) for batch in batches])
        hits = int((given == true)[known].sum())
        interval = binomtest(hits, int(known.sum())).proportion_ci(0.95, method="wilson")
        found[name] = _Accuracy(hits / int(known.sum()), (float(interval.low), float(interval.high)))
    return found


def _runner(package: Package, name: str, threads: int) -> Runner:
    if name == "eager":
        return EagerRunner(rebuild_model(package))
    return package.runner(name, threads=threads)  # type: ignore[arg-type]


def _row(report: ProfileReport, name: str, accuracy: _Accuracy | None) -> FormatRow:
    """Returns the row of the format `name`, which `report` has the latency of."""
    artefact = next(found for found in report.artefacts if found.format == name)
    latency = next(found for found in report.formats if found.format == name)
    memory = next((found for found in report.memory if found.format == name), None)
    parity = next((found for found in report.parity if found.format == name), None)
    return FormatRow(
        format=name,
        runtime=artefact.runtime,
        file_bytes=artefact.bytes,
        top1=None if accuracy is None else accuracy.top1,
        top1_interval=None if accuracy is None else accuracy.interval,
        p50_ms=next(found.value for found in latency.percentiles if found.percent == PERCENT),
        images_per_second=latency.images_per_second,
        verdict=latency.verdict,
        peak_mib=None if memory is None else memory.peak_mib,
        model_mib=None if memory is None else memory.delta_mib,
        error=None if parity is None else parity.max_abs_error / parity.scale,
        same_top1=None if parity is None else parity.top1_agreement,
    )
