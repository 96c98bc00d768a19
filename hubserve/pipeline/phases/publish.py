"""Phase "publish": publishes the package in the model store."""

from hubserve import store
from hubserve.errors import NothingFeasibleError
from hubserve.jobs import Run
from hubserve.latency.arch_latency import CHOICE_SECONDS, NAME, sure_median
from hubserve.latency.package_calls import TensorCall
from hubserve.package.package import Package
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter

PUBLISHED = "published.json"


def publish(resolved: ResolvedJob, package: Package, run: Run, status: StatusWriter) -> str | None:
    """Publishes the package and returns its tag in the model store; returns None if the job publishes nothing.

    The tag is saved in published.json. The store gives an unchanged package the same tag if it is published again.

    Raises:
        NothingFeasibleError: The package, measured once more, takes longer than the constraint allows.
        PackageError: A file of the package was changed, or a format has not passed the comparison with PyTorch.
        StoreError: The store refuses the package, see `hubserve.store.publish`.
    """
    if resolved.job.publish is None:
        return None

    def publish_now() -> dict[str, str]:
        status.begin("publish", "publishing")
        _check_latency(resolved, package)
        return {"tag": store.publish(package.path, name=resolved.job.store_name).tag}

    return str(load_or_compute(run.path / PUBLISHED, publish_now)["tag"])


def _check_latency(resolved: ResolvedJob, package: Package) -> None:
    limit = resolved.job.limits.get(NAME)
    if limit is None:
        return
    threads = resolved.job.latency.threads
    measure = resolved.latency(CHOICE_SECONDS)
    if isinstance(resolved, ResolvedSearch) and not resolved.space.takes_images:
        found = sure_median(measure.time(lambda: TensorCall(package.tensor_runner("onnx", threads=threads)), resolved.space))
    else:
        found = sure_median(measure.time(lambda: package.runner("onnx", threads=threads)))
    if found > limit:
        raise NothingFeasibleError(
            f"the winner takes {found:.3g} ms, and latency_ms <= {limit:g} is asked for. It met that when it was chosen, so "
            "the machine is busier now; `hubserve search --run` measures again. Nothing was published"
        )
