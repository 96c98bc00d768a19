"""`ImageTask`: searches on labelled images, whose networks are trained by `Classification`."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from hubserve.complexity import complexity
from hubserve.data.labelled_data import LabelledData
from hubserve.data.loaders import MORE_SHARED_MEMORY
from hubserve.data.names import shown
from hubserve.data.scan import Scan
from hubserve.errors import HubserveError, JobError
from hubserve.evaluator import Classification
from hubserve.hub import HubSpace
from hubserve.jobs import Recipe, Run, SearchJob
from hubserve.package.runner import Batch
from hubserve.pipeline.phases.test import LabelledParts, TestedNetwork
from hubserve.pipeline.phases.test import test as measure_accuracy
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.pipeline.tasks.recipe_arguments import loader, recipe_arguments
from hubserve.pipeline.tasks.search_task import SearchTask
from hubserve.preprocess import Preprocess
from hubserve.training.evaluator import Objective
from hubserve.training.supervised import SupervisedEvaluator
from hubserve.usable_resources import free_shared_memory

PREPARED_BATCHES = 2
"""Number of batches that each process of a DataLoader holds ready, the default of its `prefetch_factor`."""


@dataclass(frozen=True)
class ImageTask(SearchTask):
    """A search on labelled images.

    Attributes:
        data: The images.
    """

    data: LabelledData

    @property
    def objective(self) -> Objective:
        return Classification.objectives[0]

    @property
    def preprocess(self) -> Preprocess:
        return self.data.preprocess

    @property
    def scan(self) -> Scan | None:
        return self.data.scan

    def space_settings(self) -> dict[str, Any]:
        return {"num_labels": len(self.data.labels)}

    def check_space(self, job: SearchJob, space: HubSpace) -> None:
        if space.num_labels != len(self.data.labels):
            raise JobError(
                f"space: {job.space.name} has {space.num_labels} classes and {self.data.name} has {len(self.data.labels)}; "
                "leave num_labels out"
            )
        size = self.preprocess.input_size
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # About operations whose MACs are unknown: only the shapes matter here.
                with torch.device("meta"):
                    network = space.freeze(space.random(Random(0)))
                complexity(network, (3, size, size))
        except (HubserveError, RuntimeError, ValueError) as error:
            raise JobError(
                f"data: {job.space.name} does not take images of {size} pixels: {error}; set data.settings.size"
            ) from error

    def evaluator(self, recipe: Recipe, scored: Dataset[Any], *, workers: int) -> Classification:
        return Classification(
            train_dataloaders=loader(self.data.train, recipe.batch_size, workers, shuffle=True),
            val_dataloaders=loader(scored, recipe.batch_size, workers, shuffle=False),
            num_classes=len(self.data.labels),
            **recipe_arguments(recipe),
        )

    def record(self) -> dict[str, Any]:
        parts = dict(zip(("train", "val", "test"), self.sizes, strict=True))
        return {"labels": list(self.data.labels), "items": parts}

    def facts(self) -> dict[str, Any]:
        sizes = " / ".join(f"{size:,}" for size in self.sizes)
        return {
            "data": f"{self.data.name}: {sizes} images to train, validate, test",
            "classes": len(self.data.labels),
            **(self.scan.facts() if self.scan else {}),
            "input_size": self.preprocess.input_size,
        }

    def notes(self, job: SearchJob) -> list[str]:
        return [*(self.scan.notes if self.scan else ()), *self._shared_memory_notes(job)]

    def test(
        self, model: nn.Module, val: SupervisedEvaluator, test: SupervisedEvaluator, run: Run, status: StatusWriter
    ) -> TestedNetwork:
        if self.scan is None:
            files = [f"image {i}" for i in range(self.sizes[2])]
        else:
            files = [shown(image.file) for image in self.scan.images if image.part == "test"]
        parts = LabelledParts(self.data.name, self.data.labels, val.val_batches, test.val_batches, files)
        return measure_accuracy(model, parts, run, status)

    def package_entries(self, space: HubSpace, tested: TestedNetwork) -> Mapping[str, Any]:
        return {
            "preprocess": self.preprocess,
            "labels": self.data.labels,
            "temperature": tested.temperature,
            "accuracy": tested.accuracy,
        }

    def compared_images(self, evaluator: SupervisedEvaluator) -> Sequence[Batch]:
        """Returns two batches of at most 16 validation images."""
        batches = islice(evaluator.val_batches(), 2)
        return [np.ascontiguousarray(inputs[:16].numpy()) for inputs, _ in batches]

    def _shared_memory_notes(self, job: SearchJob) -> list[str]:
        """Returns a list with a sentence if the batches that the reading processes prepare may not fit into /dev/shm."""
        readers = job.data.workers * job.executor.workers
        batch_size = max(recipe.batch_size for recipe in (job.recipe, job.retrain) if recipe is not None)
        needed = readers * PREPARED_BATCHES * batch_size * 3 * self.preprocess.input_size**2 * 4
        free = free_shared_memory()
        if free is None or needed <= free:
            return []
        return [
            f"data.workers = {job.data.workers}: the images that {readers} processes hold ready take up to "
            f"{needed / 1e6:,.0f} MB of shared memory, and /dev/shm has {free / 1e6:,.0f} MB left. {MORE_SHARED_MEMORY}"
        ]
