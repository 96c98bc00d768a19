"""What a worker process does for its supervisor: reports that it answers, and keeps its metrics apart from other servers'."""

from __future__ import annotations

import os

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.metrics.prometheus import PrometheusClient

STARTED_FD = "HUBSERVE_STARTED_FD"
"""Environment variable with the file descriptor to which a worker writes its process id once it answers."""

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder for the metrics of several workers; prometheus_client reads it."""

_started_fd: int | None = None


def is_worker() -> bool:
    """Returns whether this process was started by hubserve's supervisor."""
    return _started_fd is not None or STARTED_FD in os.environ


def prepare() -> None:
    """Takes the supervisor's file descriptor from the environment. Must be called before any metric is created.

    If the environment has no folder for metrics, they are kept in memory, and BentoML's /metrics shows those of this process.
    """
    global _started_fd
    given = os.environ.pop(STARTED_FD, "")  # Processes that a worker starts are no workers.
    if given:
        _started_fd = int(given)
        os.set_inheritable(_started_fd, False)
    if not os.environ.get(METRICS_FOLDER):
        os.environ.pop(METRICS_FOLDER, None)
        BentoMLContainer.metrics_client.set(PrometheusClient(multiproc=False))


def report_started() -> None:
    """Reports to the supervisor that this worker answers; does nothing if there is no supervisor."""
    if _started_fd is not None:
        os.write(_started_fd, b"%d\n" % os.getpid())
