"""`resolve_shrinking`: loads the model and the images of a search for a smaller network, and cuts the model's space."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubserve.data.own_images import PLAIN, Reading
from hubserve.errors import HubserveError, JobError, ProfileError
from hubserve.jobs import TABLE_BYTES, UNLIMITED, JobLimits, ShrinkJob
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.pipeline.check_definition import make_strategy
from hubserve.pipeline.phases.tune import start_network
from hubserve.pipeline.resolve_fine_tuning import ResolvedFineTuning, resolve_fine_tuning
from hubserve.strategy import Strategy
from hubserve.supernet.elastic_space import ElasticSpace
from hubserve.training.finetuning.new_head import NewHead


@dataclass(frozen=True, kw_only=True)
class ResolvedShrinking(ResolvedFineTuning):
    """A search for a smaller network in a trained model, as `hubserve.pipeline.resolve_job` returns it.

    Attributes:
        job: The definition.
        network: The model with a head for the classes of the data; its own head if it has these classes.
        space: The archs that are no larger than that of the model.
        strategy: Strategy that searches them.
        table: Latency table of the model's space that predicts latencies; None measures one.
    """

    job: ShrinkJob
    network: NewHead
    space: ElasticSpace
    strategy: Strategy
    table: LatencyTable | None = None

    @property
    def start_share(self) -> float:
        """Share of the recipe's minutes or epochs for the training before the search.

        It is 0 if blocks are fitted to a model that has the classes of the data: it is fine-tuned already.
        """
        is_ready = self.job.weights == "fitted" and not self.network.head
        return 0.0 if is_ready else self.job.budget.start_share

    @property
    def start_epochs(self) -> int | None:
        """Number of epochs of the training before the search, 0 if there is none; None without a budget in epochs.

        It leaves at least one epoch of the recipe for the training after the search, so it is 0 of one; of more, at least 1.
        """
        epochs = self.job.recipe.epochs
        if epochs is None or self.start_share == 0:
            return None if epochs is None else 0
        return min(epochs - 1, max(1, round(epochs * self.start_share)))

    def facts(self) -> dict[str, Any]:
        limits = ", ".join(f"{name} <= {bound:g}" for name, bound in self.job.constraints.items())
        return {
            **super().facts(),
            "space": f"{self.space.count():,} archs no larger than that of {self.source.name}",
            "strategy": self.job.strategy.name,
            "constraints": limits,
        }


def resolve_shrinking(
    job: ShrinkJob, *, where: Path, limits: JobLimits = UNLIMITED, reading: Reading = PLAIN
) -> ResolvedShrinking:
    """Loads the model and the images of a search for a smaller network; arguments and errors are those of `resolve_job`."""
    found = resolve_fine_tuning(job, where=where, limits=limits, reading=reading)
    source, labels = found.source, found.parts.labels
    network = start_network(found, keep_head=tuple(source.labels) == tuple(labels))
    try:
        space = ElasticSpace.of(network.space, source.arch)
    except HubserveError as error:
        raise JobError(f"start.model: {error}") from error
    return ResolvedShrinking(
        job=job,
        limits=limits,
        source=source,
        parts=found.parts,
        network=network,
        space=space,
        strategy=make_strategy(job, refused=limits.refused_code),
        table=_load_table(job, space, found, where, limits),
    )


def _load_table(
    job: ShrinkJob, space: ElasticSpace, found: ResolvedFineTuning, where: Path, limits: JobLimits
) -> LatencyTable | None:
    entry = job.latency
    if entry.table is None:
        return None
    path = limits.reachable_file("latency.table", where / entry.table.expanduser(), max_bytes=TABLE_BYTES)
    try:
        table = LatencyTable.load(path)
        table.check_fit(path, space.inner, input_size=found.input_size, batch_size=entry.batch_size, threads=entry.threads)
    except ProfileError as error:
        raise JobError(f"latency.table: {error}") from error
    return table
