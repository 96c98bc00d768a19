"""Phase "export": writes the package of the trained network and compares each exported format with PyTorch."""

import time
from collections.abc import Callable, Sequence

from hubserve.export.model_source import ModelSource
from hubserve.export.write_package import write_package
from hubserve.jobs import Run
from hubserve.package.manifest import Format
from hubserve.package.package import MANIFEST, Package, read_package
from hubserve.package.runner import Batch
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.pipeline.time_estimates import note_export

PACKAGE = "package"


def export(
    source: ModelSource,
    formats: Sequence[Format],
    images: Callable[[], Sequence[Batch]],
    run: Run,
    status: StatusWriter,
    *,
    texts: Sequence[str] = (),
) -> Package:
    """Writes the package in the run folder; its formats are compared with PyTorch on random and on real images.

    Args:
        source: The trained network.
        formats: Formats to export.
        images: Function that returns batches of preprocessed images, on which the formats are compared.
        run: The run.
        status: Writer of the run's status.
        texts: Texts, on which the formats of a text classifier are compared.

    Returns:
        The package. If the run folder already has one, from before an interruption, it is read and not written again.

    Raises:
        ExportError: A format cannot be written, or (ParityError) its logits differ from PyTorch's by more than allowed.
        PackageError: The package that is there is incomplete, or a new one cannot be written, see `write_package`.
    """
    folder = run.path / PACKAGE
    if (folder / MANIFEST).is_file():
        return read_package(folder)
    status.begin("export", "exporting")
    compared, began = images(), time.monotonic()
    package = write_package(source, folder, formats=formats, images=compared, texts=texts)
    note_export(source.model, formats, time.monotonic() - began)
    return package
