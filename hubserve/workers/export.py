"""Program that exports a model for a request over HTTP.

python -m hubserve.workers.export FOLDER

FOLDER holds the request; the package and the progress of the export are written into it. The exit code is 1 if the model
cannot be exported; the reason is printed on stderr.
"""

import sys
from contextlib import suppress
from pathlib import Path

from hubserve.errors import HubserveError, StorageError
from hubserve.export.model_source import ModelSource, arch_source
from hubserve.export.named_source import named_source
from hubserve.export.write_package import write_package
from hubserve.failure_reason_file import write_reserved
from hubserve.find_named import REFUSED_OVER_HTTP
from hubserve.hub.registry import get_space
from hubserve.package.formats import default_formats
from hubserve.package.manifest import ALL_FORMATS
from hubserve.service.export_folder import (
    PACKAGE,
    REASON,
    ExportLimits,
    ExportPhase,
    ExportRequest,
    read_limits,
    read_request,
    write_phase,
)
from hubserve.space.building_limit import limit_networks
from hubserve.storage_faults import storage_error


def main(folder: Path) -> None:
    """Runs one export: reads request.json and limits.json in `folder`, and writes the package and phase.json (progress) there.

    Raises:
        HubserveError: The model cannot be exported; no package is written then.
    """
    request, limits = read_request(folder), read_limits(folder)
    with limit_networks(modules=limits.modules, parameters=limits.parameters):
        _export(request, limits, folder)


def _export(request: ExportRequest, limits: ExportLimits, folder: Path) -> None:
    write_phase(folder, ExportPhase())
    source = _source(request, limits)
    formats = tuple(name for name in ALL_FORMATS if name in request.formats) or default_formats()
    message = f"{', '.join(formats)}: being written and compared with eager PyTorch"
    write_phase(folder, ExportPhase(phase="export", message=message))
    write_package(source, folder / PACKAGE, formats=formats)


def _source(request: ExportRequest, limits: ExportLimits) -> ModelSource:
    if request.model is not None:
        return named_source(request.model, random_weights=request.random_weights)
    space = get_space(request.space or "", request.settings, refused=None if limits.own_code else REFUSED_OVER_HTTP)
    return arch_source(space, request.settings, request.arch or {}, name="arch")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception as failed:
        found = storage_error(failed) or failed
        if not isinstance(found, HubserveError):
            raise
        if isinstance(found, StorageError):
            write_reserved(Path(sys.argv[1]) / REASON, str(found))
        with suppress(OSError):  # stderr is a log file, which may be on the same full disk.
            print(f"{type(found).__name__}: {found}", file=sys.stderr, flush=True)
        sys.exit(1)
