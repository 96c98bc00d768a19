"""`TextTask`: searches on labelled texts, whose networks are trained by `Classification`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from hubserve.data.labelled_texts import beginning
from hubserve.data.loaders import in_order
from hubserve.data.text_data import TextData
from hubserve.data.text_dataset import PADDING
from hubserve.errors import JobError, MissingExtraError, PackageError, TensorError
from hubserve.hub import HubSpace
from hubserve.jobs import Run, SearchJob
from hubserve.package.signature import ModelSignature
from hubserve.package.text_tokenizer import TextTokenizer
from hubserve.pipeline.check_definition import make_space
from hubserve.pipeline.phases.test import TestedNetwork
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.pipeline.tasks.labelled_task import LabelledTask
from hubserve.training.supervised import SupervisedEvaluator

MOST_COMPARED = 32
"""Largest number of validation texts on which exported formats are compared with PyTorch."""


@dataclass(frozen=True)
class TextTask(LabelledTask):
    """A search on labelled texts.

    Attributes:
        data: The texts.
    """

    items = "texts"

    data: TextData

    def space_settings(self) -> dict[str, Any]:
        return {
            **super().space_settings(),
            "vocab_size": self.data.vocabulary,
            "max_length": self.data.max_tokens,
            "pad_id": PADDING,
        }

    def check_job(self, job: SearchJob) -> None:
        super().check_job(job)
        # Before the settings that only spaces for texts have.
        space = make_space(job, job.space.settings)
        signature = ModelSignature(space.inputs, space.outputs)
        if [entry.prepared_by for entry in space.inputs] != ["text"] or not signature.classes:
            raise JobError(
                f"data: {self.data.name} has texts, and {job.space.name} takes {signature.described}; choose a space that "
                "classifies texts, such as NASBERT"
            )

    def check_space(self, job: SearchJob, space: HubSpace) -> None:
        super().check_space(job, space)
        try:
            TextTokenizer(self.data.tokenizer, space.inputs[0])
            (ids, _) = next(iter(in_order(self.data.val, 2)))
            ModelSignature(space.inputs, space.outputs).check({space.inputs[0].name: ids.numpy()})
        except (PackageError, MissingExtraError, TensorError) as error:
            raise JobError(f"data: {job.space.name} does not take the texts of {self.data.name}: {error}") from error

    def record(self) -> dict[str, Any]:
        return {**super().record(), "sha256": self.data.sha256}

    def found(self) -> dict[str, Any]:
        return {"texts": self.part_sizes, "sha256": self.data.sha256}

    def facts(self) -> dict[str, Any]:
        sizes = " / ".join(f"{size:,}" for size in self.sizes)
        return {
            "data": f"{self.data.name}: {sizes} {self.items} to train, validate, test",
            "classes": len(self.data.labels),
            "tokens": f"{self.data.vocabulary:,} in the vocabulary, at most {self.data.max_tokens} of a text",
        }

    def notes(self, job: SearchJob) -> list[str]:
        return list(self.data.notes)

    def test(
        self, model: nn.Module, val: SupervisedEvaluator, test: SupervisedEvaluator, run: Run, status: StatusWriter
    ) -> TestedNetwork:
        files = [beginning(text) for text in self.data.test.texts]
        return self._tested(model, val, test, run, status, files=files)

    def package_entries(self, space: HubSpace, tested: TestedNetwork) -> Mapping[str, Any]:
        return {
            **super().package_entries(space, tested),
            "signature": ModelSignature(space.inputs, space.outputs),
            "tokenizer": self.data.tokenizer,
        }

    def compared_texts(self) -> Sequence[str]:
        return self.data.val.texts[:MOST_COMPARED]
