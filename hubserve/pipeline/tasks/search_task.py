"""`SearchTask`: the base class for the steps of a search that depend on the kind of its data."""

import abc
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import nn
from torch.utils.data import Dataset

from hubserve.data.names import PARTS
from hubserve.data.scan import Scan
from hubserve.data.search_data import SearchData
from hubserve.errors import JobError
from hubserve.hub import HubSpace
from hubserve.jobs import Recipe, Run, SearchJob
from hubserve.package.runner import Batch
from hubserve.pipeline.phases.test import TestedNetwork
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.preprocess import Preprocess
from hubserve.training.evaluator import Objective
from hubserve.training.supervised import SupervisedEvaluator


@dataclass(frozen=True)
class SearchTask(abc.ABC):
    """What a search does with its data; there is one subclass for each kind of data, listed in `find_task.TASKS`.

    Attributes:
        items: What the data consist of, in the plural, as messages name it.
        data: The data of the search.
    """

    items: ClassVar[str] = "items"

    data: SearchData

    @property
    @abc.abstractmethod
    def objective(self) -> Objective:
        """The first objective of the evaluators that `evaluator` returns."""

    @property
    def preprocess(self) -> Preprocess | None:
        """The preprocessing of images; None for other inputs."""
        return None

    @property
    def scan(self) -> Scan | None:
        """What was found in the user's image files; None for data sets that are known by name, and for other inputs."""
        return None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of items to train, to validate and to test with."""
        train, val, test = (len(cast(Sized, part)) for part in (self.data.train, self.data.val, self.data.test))
        return train, val, test

    @property
    def part_sizes(self) -> dict[str, int]:
        """Number of items of each part, by its name: "train", "val" and "test"."""
        return dict(zip(PARTS, self.sizes, strict=True))

    @abc.abstractmethod
    def space_settings(self) -> dict[str, Any]:
        """Returns the settings of the space that the data determine, such as the number of classes; a job may replace them."""

    def check_job(self, job: SearchJob) -> None:
        """Checks the definition of the job against the data.

        Raises:
            JobError: The first objective is not `objective`, unless the job names an evaluator; or a key of the job has no
                meaning for these data, or its space takes other inputs.
        """
        first = next(iter(job.objectives))
        if job.evaluator is None and first != self.objective.name:
            raise JobError(
                f"objectives: {first}: networks that are trained on {self.data.name} are scored by {self.objective.name}, "
                f"which is {self.objective.direction}d; name it first"
            )

    @abc.abstractmethod
    def check_space(self, job: SearchJob, space: HubSpace) -> None:
        """Raises `JobError` if the networks of the job's space cannot be trained on the data."""

    @abc.abstractmethod
    def evaluator(self, recipe: Recipe, scored: Dataset[Any], *, workers: int) -> SupervisedEvaluator:
        """Returns the evaluator that trains networks on the training part.

        Args:
            recipe: How it trains.
            scored: Part of the data on which it scores networks.
            workers: Number of processes that read items; 0 reads them in this process.

        Raises:
            JobError: `scored` is not a part of data of this kind.
        """

    @abc.abstractmethod
    def record(self) -> dict[str, Any]:
        """Returns what must be the same when an interrupted run goes on, as data that JSON can represent."""

    def found(self) -> dict[str, Any]:
        """Returns what the package says about the data, for its provenance, as data that JSON can represent."""
        return {} if self.scan is None else self.scan.outline()

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """Returns the lines about the data that `hubserve search JOB --check` prints, by name; None for one that it omits."""

    def notes(self, job: SearchJob) -> list[str]:
        """Returns messages for the user about the data of the job."""
        return []

    @abc.abstractmethod
    def test(
        self, model: nn.Module, val: SupervisedEvaluator, test: SupervisedEvaluator, run: Run, status: StatusWriter
    ) -> TestedNetwork:
        """Tests a network, saves the result in the folder of `run` and returns it; one that is saved already is returned.

        Args:
            model: Network in eval mode, on the CPU.
            val: Evaluator that scores networks on the validation part.
            test: Evaluator that scores networks on the test part.
            run: The run.
            status: Writer of the run's status.
        """

    @abc.abstractmethod
    def package_entries(self, space: HubSpace, tested: TestedNetwork) -> Mapping[str, Any]:
        """Returns, by name, the attributes of a trained network's `ModelSource` that depend on the kind of data.

        Args:
            space: Its space.
            tested: Result of the test.
        """

    def compared_images(self, evaluator: SupervisedEvaluator) -> Sequence[Batch]:
        """Returns batches of images on which the exported formats are compared with PyTorch; empty for other inputs."""
        return ()

    def compared_texts(self) -> Sequence[str]:
        """Returns texts on which the exported formats are compared with PyTorch; empty for other inputs."""
        return ()
