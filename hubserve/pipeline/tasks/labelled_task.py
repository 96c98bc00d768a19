"""`LabelledTask`: the base class of searches on labelled images and on labelled texts, whose networks classify."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn
from torch.utils.data import Dataset

from hubserve.data.labelled_data import LabelledData
from hubserve.data.text_data import TextData
from hubserve.errors import JobError
from hubserve.evaluator import Classification
from hubserve.hub import HubSpace
from hubserve.jobs import Recipe, Run, SearchJob
from hubserve.package.accuracy_report import Items
from hubserve.pipeline.phases.test import LabelledParts, TestedNetwork
from hubserve.pipeline.phases.test import test as measure_accuracy
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.pipeline.tasks.recipe_arguments import loader, recipe_arguments
from hubserve.pipeline.tasks.search_task import SearchTask
from hubserve.training.evaluator import Objective
from hubserve.training.supervised import SupervisedEvaluator


@dataclass(frozen=True)
class LabelledTask(SearchTask):
    """A search on labelled data, whose networks classify.

    Attributes:
        data: The data and their labels.
    """

    items: ClassVar[Items]

    data: LabelledData | TextData

    @property
    def objective(self) -> Objective:
        return Classification.objectives[0]

    def space_settings(self) -> dict[str, Any]:
        return {"num_labels": len(self.data.labels)}

    def check_space(self, job: SearchJob, space: HubSpace) -> None:
        if space.num_labels != len(self.data.labels):
            raise JobError(
                f"space: {job.space.name} has {space.num_labels} classes and {self.data.name} has {len(self.data.labels)}; "
                "leave num_labels out"
            )

    def evaluator(self, recipe: Recipe, scored: Dataset[Any], *, workers: int) -> Classification:
        return Classification(
            train_dataloaders=loader(self.data.train, recipe.batch_size, workers, shuffle=True),
            val_dataloaders=loader(scored, recipe.batch_size, workers, shuffle=False),
            num_classes=len(self.data.labels),
            **recipe_arguments(recipe),
        )

    def record(self) -> dict[str, Any]:
        return {"labels": list(self.data.labels), "items": self.part_sizes}

    def package_entries(self, space: HubSpace, tested: TestedNetwork) -> Mapping[str, Any]:
        return {
            "preprocess": None,
            "labels": self.data.labels,
            "temperature": tested.temperature,
            "accuracy": tested.accuracy,
        }

    def _tested(
        self,
        model: nn.Module,
        val: SupervisedEvaluator,
        test: SupervisedEvaluator,
        run: Run,
        status: StatusWriter,
        *,
        files: Sequence[str],
    ) -> TestedNetwork:
        """Tests `model` and returns the result, as `test` does; `files` are the names of the test items, in their order."""
        parts = LabelledParts(self.data.name, self.data.labels, val.val_batches, test.val_batches, files, self.items)
        return measure_accuracy(model, parts, run, status)
