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

from hubserve.complexity import complexity
from hubserve.data.labelled_data import LabelledData
from hubserve.data.loaders import MORE_SHARED_MEMORY
from hubserve.data.names import shown
from hubserve.data.scan import Scan
from hubserve.errors import HubserveError, JobError
from hubserve.hub import HubSpace
from hubserve.jobs import Run, SearchJob
from hubserve.package.runner import Batch
from hubserve.pipeline.phases.test import TestedNetwork
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.pipeline.tasks.labelled_task import LabelledTask
from hubserve.preprocess import Preprocess
from hubserve.training.supervised import SupervisedEvaluator
from hubserve.usable_resources import free_shared_memory

PREPARED_BATCHES = 2
"""Number of batches that each process of a DataLoader holds ready, the default of its `prefetch_factor`."""


@dataclass(frozen=True)
class ImageTask(LabelledTask):
    """A search on labelled images.

    Attributes:
        data: The images.
    """

    items = "images"

    data: LabelledData

    @property
    def preprocess(self) -> Preprocess:
        return self.data.preprocess

    @property
    def scan(self) -> Scan | None:
        return self.data.scan

    def check_space(self, job: SearchJob, space: HubSpace) -> None:
        super().check_space(job, space)
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

    def facts(self) -> dict[str, Any]:
        sizes = " / ".join(f"{size:,}" for size in self.sizes)
        return {
            "data": f"{self.data.name}: {sizes} {self.items} to train, validate, test",
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
        return self._tested(model, val, test, run, status, files=files)

    def package_entries(self, space: HubSpace, tested: TestedNetwork) -> Mapping[str, Any]:
        return {**super().package_entries(space, tested), "preprocess": self.preprocess}

    def compared_images(self, evaluator: SupervisedEvaluator) -> Sequence[Batch]:
        """Returns at most two batches of at most 16 validation images."""
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
