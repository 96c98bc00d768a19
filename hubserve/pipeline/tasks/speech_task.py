"""`SpeechTask`: searches on spoken texts, whose networks are trained by `SpeechSynthesis`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from hubserve.data.speech.speech_data import SpeechData, SpokenTexts
from hubserve.errors import JobError
from hubserve.hub import HubSpace
from hubserve.jobs import Recipe, Run, SearchJob
from hubserve.package.signature import ModelSignature
from hubserve.pipeline.phases.test import TEST, TestedNetwork
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.pipeline.tasks.recipe_arguments import recipe_arguments
from hubserve.pipeline.tasks.search_task import SearchTask
from hubserve.training.evaluator import Objective
from hubserve.training.speech_scores import speech_scores
from hubserve.training.speech_synthesis import SpeechSynthesis
from hubserve.training.supervised import SupervisedEvaluator

OUTPUTS = ["mel", "durations"]
"""Names of the outputs of the networks that `SpeechSynthesis` trains."""


@dataclass(frozen=True)
class SpeechTask(SearchTask):
    """A search on spoken texts, for networks that turn phonemes into mel spectrograms.

    Attributes:
        data: The spoken texts.
    """

    data: SpeechData

    @property
    def objective(self) -> Objective:
        return SpeechSynthesis.objectives[0]

    def space_settings(self) -> dict[str, Any]:
        return {
            "vocab_size": len(self.data.corpus.symbols) + 1,
            "mel_bins": self.data.corpus.mel.bands,
            "f0_mean": self.data.statistics.f0_mean,
            "f0_std": self.data.statistics.f0_std,
            "seconds_per_frame": self.data.seconds_per_frame,
        }

    def check_job(self, job: SearchJob) -> None:
        super().check_job(job)
        for key, recipe in (("recipe", job.recipe), ("retrain", job.retrain)):
            if recipe is not None and recipe.label_smoothing:
                raise JobError(f"{key}.label_smoothing = {recipe.label_smoothing}: speech has no labels; leave it out")
        for key in ("zero_cost_filter", "evaluator"):
            entry = getattr(job, key)
            if entry is not None and getattr(entry, "name", "ZeroCost") == "ZeroCost":
                raise JobError(f"{key}: zero-cost scores are computed on images, and {self.data.name} is speech; leave it out")

    def check_space(self, job: SearchJob, space: HubSpace) -> None:
        if [output.name for output in space.outputs] != OUTPUTS or len(space.inputs) != 1:
            signature = ModelSignature(space.inputs, space.outputs)
            raise JobError(
                f"space: networks of {job.space.name} return {signature.described_outputs} and take {signature.described}; "
                f"{self.data.name} trains networks that take phonemes and return {' and '.join(OUTPUTS)}, such as LightSpeech"
            )
        highest, symbols = space.inputs[0].highest, len(self.data.corpus.symbols)
        if highest is not None and highest < symbols:
            raise JobError(f"space: {job.space.name} has the ids 0 to {highest}, and {self.data.name} has {symbols} phonemes")
        bands = space.outputs[0].shape[-1]
        if bands != self.data.corpus.mel.bands:
            raise JobError(f"space: mel_bins = {bands}, and {self.data.name} has {self.data.corpus.mel.bands}; leave it out")

    def evaluator(self, recipe: Recipe, scored: Dataset[Any], *, workers: int) -> SpeechSynthesis:
        if not isinstance(scored, SpokenTexts):
            raise JobError(f"data: a part of {self.data.name} is a {type(scored).__name__}, and must be spoken texts")
        arguments = recipe_arguments(recipe)
        del arguments["label_smoothing"]
        return SpeechSynthesis(
            train_dataloaders=self.data.train.loader(recipe.batch_size, given_pitch=True, shuffle=True, workers=workers),
            val_dataloaders=scored.loader(recipe.batch_size, given_pitch=False, workers=workers),
            **arguments,
        )

    def record(self) -> dict[str, Any]:
        return {"made_by": self.data.corpus.made_by, "symbols": list(self.data.corpus.symbols), "items": self.part_sizes}

    def found(self) -> dict[str, Any]:
        """Returns what users of a network need: the names of the phonemes, and how its spectrograms are normalised."""
        statistics = self.data.statistics
        return {
            "made_by": self.data.corpus.made_by,
            "symbols": list(self.data.corpus.symbols),
            "mel": asdict(self.data.corpus.mel),
            "mel_mean": [round(float(value), 5) for value in statistics.mel_mean],
            "mel_std": [round(float(value), 5) for value in statistics.mel_std],
        }

    def facts(self) -> dict[str, Any]:
        sizes = " / ".join(f"{size:,}" for size in self.sizes)
        corpus, minutes = self.data.corpus, self.data.seconds / 60
        return {
            "data": f"{self.data.name}: {sizes} utterances to train, validate, test; {minutes:.1f} minutes by {corpus.made_by}",
            "phonemes": len(corpus.symbols),
        }

    def test(
        self, model: nn.Module, val: SupervisedEvaluator, test: SupervisedEvaluator, run: Run, status: StatusWriter
    ) -> TestedNetwork:
        def measure() -> dict[str, float]:
            status.begin("test", "comparing mel spectrograms and durations of the test part")
            return speech_scores(model, self.data)

        return TestedNetwork(None, None, None, load_or_compute(run.path / TEST, measure))

    def package_entries(self, space: HubSpace, tested: TestedNetwork) -> Mapping[str, Any]:
        return {"preprocess": None, "labels": (), "signature": ModelSignature(space.inputs, space.outputs)}
