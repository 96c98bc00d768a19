"""Defines the Prometheus metrics of hubserve, which BentoML serves at /metrics together with its own.

Their labels are routes, statuses and names in the store, but never a text that a client chooses, because each new label takes
memory.
"""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from hubserve.service.metrics_files import use_allocated_files

use_allocated_files()

REQUESTS = Counter("hubserve_requests", "Requests that were answered.", ["route", "status"])
SECONDS = Histogram("hubserve_request_seconds", "From the request's head to its answer.", ["route"])
DROPPED = Counter("hubserve_dropped_images", "Images that nobody waited for any more, by the first step not done.", ["step"])
REFUSED_VERSIONS = Counter("hubserve_refused_versions", "Versions in the store that could not be loaded.", ["model"])
UNLOGGED = Counter("hubserve_unlogged_predictions", "Predictions that the log of predictions lacks.")
WAITING = Gauge("hubserve_waiting_images", "Images that wait or are being classified.", multiprocess_mode="livesum")
LOADED = Gauge("hubserve_loaded_bytes", "Memory of all loaded models, as measured.", multiprocess_mode="livesum")


def count_request(route: str, status: int | str, seconds: float) -> None:
    """Counts a request that was answered, and records how long that took in the histogram of its route.

    Args:
        route: Path pattern of its route, or the method of gRPC; "other" if it has none.
        status: HTTP status of the answer; for gRPC the name of the status.
        seconds: Time from the head of the request to the end of its answer.
    """
    requests, duration = _children(route, status)
    requests.inc()
    duration.observe(seconds)


@cache
def _children(route: str, status: int | str) -> tuple[Counter, Histogram]:
    """Returns the counter and the histogram with the given labels; cached, because looking them up takes longer."""
    return REQUESTS.labels(route, status), SECONDS.labels(route)
