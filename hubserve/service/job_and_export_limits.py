"""Returns the limits of jobs and exports that are started over HTTP, by the service's settings and the size of the machine."""

from pathlib import Path

from hubserve.home import home
from hubserve.host import cores, memory_bytes
from hubserve.jobs import JobLimits
from hubserve.service.export_folder import ExportLimits
from hubserve.service.settings import ServiceSettings

IMAGE_SIZE, BATCH_SIZE = 1024, 4096
"""Limits for a job definition over HTTP: height and width of images in pixels, and images in a batch."""

PARAMETERS = 1_000_000_000
"""Largest number of parameters of all networks of a job or an export over HTTP together."""


def data_roots(settings: ServiceSettings) -> tuple[Path, ...]:
    """Returns the absolute paths of the folders in which data sets and latency tables must lie; they may not exist.

    Raises:
        OutputError: The setting `data_roots` is not set, and no folder can serve as HUBSERVE_HOME.
    """
    roots = settings.data_roots or (home() / "data",)
    return tuple(root.expanduser().absolute() for root in roots)


def definition_limits(settings: ServiceSettings) -> JobLimits:
    """Returns the limits of a job whose definition was sent over HTTP. Raises OutputError as `data_roots` does."""
    return named_job_limits(settings).model_copy(
        update={
            "roots": data_roots(settings),
            "own_code": settings.allow_import_paths,
            "own_ray": True,
            "workers": settings.job_workers or cores(),
            "trials": settings.job_trials,
            "epochs": settings.job_epochs,
            "image_size": IMAGE_SIZE,
            "batch_size": BATCH_SIZE,
        }
    )


def named_job_limits(settings: ServiceSettings) -> JobLimits:
    """Returns the limits of a job file that was started by its name over HTTP.

    The operator of the server wrote the file, so its time, memory and networks are limited, but not what it may access.
    """
    return JobLimits(
        modules=settings.job_modules,
        parameters=PARAMETERS,
        seconds=settings.job_seconds,
        memory_mb=memory_mb(settings),
    )


def export_limits(settings: ServiceSettings) -> ExportLimits:
    """Returns the limits of an export that is requested over HTTP: its time, its memory, and the size of its networks."""
    return ExportLimits(
        seconds=settings.export_seconds,
        memory_mb=memory_mb(settings),
        modules=settings.job_modules,
        parameters=PARAMETERS,
        own_code=settings.allow_import_paths,
    )


def memory_mb(settings: ServiceSettings) -> float:
    """Returns the largest memory of a job or an export, in megabytes: as set, or a quarter of the machine's memory."""
    return settings.job_memory_mb or memory_bytes() / 4e6
