"""Phase "profile": measures the latency of the package, and adds the profile and the plots of the search to it."""

from pathlib import Path

from hubserve.jobs import SearchJob
from hubserve.jobs.definition import Publish
from hubserve.latency.profile_package import profile_package
from hubserve.package.add_files import add_files, add_profile
from hubserve.package.package import PROFILE, Package
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.timing import TimingProtocol

UNPUBLISHED = Publish(profile_seconds=10.0)
"""Settings for the latency profile of a job that publishes nothing: its package is measured for at most 10 seconds."""


def profile(resolved: ResolvedJob, package: Package, plots: list[Path], status: StatusWriter) -> Package:
    """Adds a latency profile and the plots of the job to the package; returns the new package.

    The plots are the files search-NAME.svg, or fine-tuning-NAME.svg.

    If the package already has a profile or the plots, because the run was interrupted afterwards, they are kept.

    Raises:
        ProfileError: No format of the package can be measured on this machine.
    """
    if PROFILE not in package.manifest.files:
        status.begin("profile", "measuring latency")
        latency = resolved.job.latency
        protocol = TimingProtocol(max_seconds=(resolved.job.publish or UNPUBLISHED).profile_seconds)
        found = profile_package(package, batch_size=latency.batch_size, threads=latency.threads, protocol=protocol)
        package = add_profile(package, found.model_dump_json(indent=2) + "\n")
    prefix = "search" if isinstance(resolved.job, SearchJob) else "fine-tuning"
    files = {f"{prefix}-{path.name}": path.read_bytes() for path in plots}
    return package if set(files) <= set(package.manifest.files) else add_files(package, files)
