"""The limits of jobs and exports that are asked for over HTTP, from the settings of the service and the size of the machine."""

from pathlib import Path

from hubserve.home import home
from hubserve.host import cores, memory_bytes
from hubserve.jobs import JobLimits
from hubserve.service.exports import ExportLimits
from hubserve.service.settings import ServiceSettings

IMAGE_SIZE, BATCH_SIZE = 1024, 4096
"""Largest height and width of images, in pixels, and largest batch, of a definition over HTTP."""

PARAMETERS = 1_000_000_000
"""Largest number of parameters of the networks of a job or an export over HTTP."""

CHECK_MEMORY_MB = 2_000.0
"""Most memory of the process that checks a request before it is accepted, in megabytes."""


def data_roots(settings: ServiceSettings) -> tuple[Path, ...]:
    """The folders in which data sets and latency tables must lie, as absolute paths; they need not exist."""
    roots = settings.data_roots or (home() / "data",)
    return tuple(root.expanduser().absolute() for root in roots)


def definition_limits(settings: ServiceSettings) -> JobLimits:
    """Returns the limits of a job whose definition was sent over HTTP."""
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
    """Limits of a job file of the operator that is started by its name: what it reaches is the operator's choice."""
    return JobLimits(
        modules=settings.job_modules,
        parameters=PARAMETERS,
        seconds=settings.job_seconds,
        memory_mb=memory_mb(settings),
    )


def export_limits(settings: ServiceSettings) -> ExportLimits:
    """Returns the limits of an export that was requested over HTTP."""
    return ExportLimits(
        seconds=settings.export_seconds,
        memory_mb=memory_mb(settings),
        modules=settings.job_modules,
        parameters=PARAMETERS,
        own_code=settings.allow_import_paths,
    )


def memory_mb(settings: ServiceSettings) -> float:
    """Most memory of a job or an export, in megabytes."""
    return settings.job_memory_mb or memory_bytes() / 4e6
