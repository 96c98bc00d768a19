"""Phase of a search for a smaller network: measures how fast the largest and the smallest one are on this machine."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from hubserve.errors import NothingFeasibleError
from hubserve.experiment.constraints import Measure
from hubserve.jobs import Run
from hubserve.latency.arch_latency import CHOICE_SECONDS, NAME, sure_median
from hubserve.latency.tables.build import BuildPlan, build_table
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.pipeline.resolve_shrinking import ResolvedShrinking
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.space import Arch, ModelSpace

LATENCY, TABLE, EXPORTED = "latency.json", "latency_table.json", "latency"

PLAN = BuildPlan(archs=30, fit_nets=0, check_nets=0, calls=20)
"""What is measured to predict the latency of the networks: their operations."""


class MeasuredLimit(BaseModel):
    """Latencies measured on this machine, in milliseconds, and the limit for the network that is searched.

    Attributes:
        full_ms: Latency of the whole network.
        smallest_ms: Latency of the smallest network that can be cut from it.
        limit_ms: Largest latency that is allowed; None without such a constraint.
    """

    model_config = ConfigDict(frozen=True)

    full_ms: float
    smallest_ms: float
    limit_ms: float | None


def measure_limit(resolved: ResolvedShrinking, run: Run, status: StatusWriter) -> MeasuredLimit:
    """Measures the latency of the largest and the smallest network in turns; the result is saved in latency.json.

    Raises:
        NothingFeasibleError: Even the smallest network is too slow; nothing was trained.
    """
    found = load_or_compute(run.path / LATENCY, lambda: _measure(resolved, run, status).model_dump())
    return MeasuredLimit.model_validate(found)


def predicted_latency(resolved: ResolvedShrinking, limit: MeasuredLimit, run: Run, status: StatusWriter) -> Measure:
    """Returns a function that predicts the latency of a network by the latency table that the job names, or a measured one.

    A table that is measured here, and saved in latency_table.json, has the times of operations alone. What it predicts is
    mapped linearly so that it is right for the largest and the smallest network, whose latency is measured.
    """
    space = resolved.space
    if resolved.table is not None:
        table = resolved.table
        return lambda _, arch: {NAME: table.predict(space.inner, arch)}
    table = _measured_table(resolved, run, status)
    smallest, largest = (table.predict(space.inner, arch) for arch in (space.smallest, space.largest))
    slope = (limit.full_ms - limit.smallest_ms) / max(largest - smallest, 1e-9)

    def predict(_: ModelSpace, arch: Arch) -> dict[str, float]:
        return {NAME: limit.smallest_ms + slope * (table.predict(space.inner, arch) - smallest)}

    return predict


def measured_in_turns(resolved: ResolvedShrinking, archs: Mapping[str, Mapping[str, Any]], run: Run) -> dict[str, float]:
    """Returns the latency of networks in milliseconds by name, measured in turns; exported networks are kept in latency/.

    With one thread, the CPU time of that thread is measured, as for latency tables: on an idle machine it is the time of the
    call, and on a busy one a call that is interrupted does not count as a slow network.
    """
    measure = resolved.latency(CHOICE_SECONDS)
    if measure.threads == 1:
        measure = replace(measure, clock=time.thread_time)
    found = measure.measure_in_turns(resolved.space, archs, kept=run.path / EXPORTED)
    return {name: sure_median(latency) for name, latency in found.items()}


def _measured_table(resolved: ResolvedShrinking, run: Run, status: StatusWriter) -> LatencyTable:
    def progress(what: str, done: int, total: int) -> None:
        if done == total or done % 20 == 0:
            status.progress(f"measuring latency: {what}, {done} of {total}")

    job, space = resolved.job, resolved.space
    return build_table(
        space.inner,
        {**resolved.source.settings, "num_labels": space.inner.num_labels},
        run.path / TABLE,
        input_size=resolved.input_size,
        threads=job.latency.threads,
        batch_size=job.latency.batch_size,
        plan=PLAN,
        progress=progress,
        draw=space.random,
    )


def _measure(resolved: ResolvedShrinking, run: Run, status: StatusWriter) -> MeasuredLimit:
    status.begin("search", "measuring the latency of the whole and of the smallest network")
    space, constraints = resolved.space, resolved.job.constraints
    found = measured_in_turns(resolved, {"full": space.largest, "smallest": space.smallest}, run)
    limit, asked = constraints.get("latency_ms"), f"{NAME} <= {constraints.get('latency_ms')}"
    if "latency_share" in constraints:
        limit = constraints["latency_share"] * found["full"]
        asked = f"latency_share <= {constraints['latency_share']:g}, {limit:.3g} ms,"
    if limit is not None and found["smallest"] > limit:
        raise NothingFeasibleError(
            f"{asked} cannot be met: the fastest network that can be cut from {resolved.source.name} takes "
            f"{found['smallest']:.3g} ms on this machine with images of {resolved.input_size} pixels, the whole one "
            f"{found['full']:.3g} ms. Allow more, or choose a smaller --size; nothing was trained or published"
        )
    return MeasuredLimit(full_ms=found["full"], smallest_ms=found["smallest"], limit_ms=limit)
