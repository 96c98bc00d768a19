"""`ResolvedJob`: the base class of a job whose named objects were made; one subclass each for search and fine-tuning."""

import abc
from dataclasses import dataclass
from typing import Any

from hubserve.data.scan import Scan
from hubserve.jobs import UNLIMITED, Job, JobLimits
from hubserve.jobs.definition import JobFormat
from hubserve.latency.arch_latency import SEARCH_SECONDS, MeasuredLatency
from hubserve.pipeline.job_formats import choose_formats
from hubserve.preprocess import Preprocess


@dataclass(frozen=True, kw_only=True)
class ResolvedJob(abc.ABC):
    """The base class of a job together with the objects that its definition names.

    Attributes:
        job: The definition.
        limits: Limits on what the job may read and use.
    """

    job: Job
    limits: JobLimits = UNLIMITED

    @property
    @abc.abstractmethod
    def preprocess(self) -> Preprocess | None:
        """The preprocessing of the images; None if the inputs are no images."""

    @property
    @abc.abstractmethod
    def scan(self) -> Scan | None:
        """What was found in the user's files; None for data sets that are known by name."""

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """Returns the lines that the option `--check` prints, by name; None for a line that is not printed."""

    @property
    def input_size(self) -> int:
        """Height and width of the network's input in pixels; 0 if its inputs are no images."""
        return 0 if self.preprocess is None else self.preprocess.input_size

    @property
    def formats(self) -> tuple[JobFormat, ...]:
        """The formats to export, without those that this Python version does not support."""
        return choose_formats(self.job)[0]

    @property
    def notes(self) -> list[str]:
        """Messages for the user about export formats that this Python version does not support."""
        return choose_formats(self.job)[1]

    def latency(self, seconds: float = SEARCH_SECONDS) -> MeasuredLatency:
        """Returns a latency measure with the batch size and threads of the job, and at most `seconds` for each network."""
        entry = self.job.latency
        return MeasuredLatency(self.input_size, entry.batch_size, entry.threads, seconds, lengths=entry.lengths)
