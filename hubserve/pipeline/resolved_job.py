"""ResolvedJob: a job with the objects that it names; what searches and fine-tunings have in common."""

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
    """A job and the objects that it names.

    Attributes:
        job: The definition.
        limits: What the job may reach and use.
    """

    job: Job
    limits: JobLimits = UNLIMITED

    @property
    @abc.abstractmethod
    def preprocess(self) -> Preprocess:
        """Preparation of the images."""

    @property
    @abc.abstractmethod
    def scan(self) -> Scan | None:
        """What was found in the user's files; None for data sets that are known by name."""

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """Facts for `--check`, by name."""

    @property
    def input_size(self) -> int:
        """Height and width of the network's input in pixels."""
        return self.preprocess.input_size

    @property
    def formats(self) -> tuple[JobFormat, ...]:
        """Formats to export; those that this Python does not support are left out."""
        return choose_formats(self.job)[0]

    @property
    def notes(self) -> list[str]:
        """Sentences about what the job leaves out, or chooses by itself."""
        return choose_formats(self.job)[1]

    def latency(self, seconds: float = SEARCH_SECONDS) -> MeasuredLatency:
        """Measures latency with the batch size and threads of the job, each network for at most `seconds`."""
        entry = self.job.latency
        return MeasuredLatency(self.input_size, entry.batch_size, entry.threads, seconds)
