"""`ExperimentResults`, the results of an experiment read from its study: trials, best archs and their networks."""

from dataclasses import replace
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial
from torch import nn

from hubserve.errors import ExperimentError
from hubserve.experiment.refusals import Refusals, closest_infeasible, refusals
from hubserve.experiment.settings import ExperimentSettings
from hubserve.experiment.study import open_study
from hubserve.experiment.top_models import Formatter, ranked, top_models
from hubserve.experiment.trial_record import TrialRecord, is_trial, record_of


class ExperimentResults:
    """The settings of an experiment and the results in its study; the subclass `NasExperiment` runs it.

    Args:
        settings: Settings of the experiment.

    Attributes:
        model_space: The space that is searched.
        evaluator: The evaluator that scores archs.
        strategy: The strategy of the experiment; an Optuna sampler that was given is wrapped in one.
        objectives: The objectives that are optimized.
        name: Name of the experiment, and of its study.
        id: The same as `name`; NNI uses this attribute.
        folder: Folder of the study and of the files of trials.
        stop_reason: Sentence that says why the last run ended; None before the first run has ended.
    """

    def __init__(self, settings: ExperimentSettings) -> None:
        self._settings = settings
        self.model_space = settings.model_space
        self.evaluator = settings.evaluator
        self.strategy = settings.strategy
        self.objectives = settings.objectives
        self.name = self.id = settings.name
        self.folder = settings.folder
        self._study: Study | None = None
        self.stop_reason: str | None = None

    @property
    def study(self) -> Study:
        """The Optuna study, which is created or opened when it is first read.

        Raises:
            ExperimentError: The study of this name has another space, other choices or other objectives, or was not created by
                an experiment; or the storage cannot be opened.
        """
        if self._study is None:
            self._study, seed = open_study(self._settings)
            self._settings = replace(self._settings, seed=seed)
        return self._study

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """The records of all trials, ordered by number."""
        return tuple(self._record(trial) for trial in self.study.get_trials(deepcopy=False) if is_trial(trial))

    def list_trial_jobs(self) -> list[TrialRecord]:
        """Returns the records of all trials, ordered by number; NNI uses this name."""
        return list(self.trials)

    @property
    def pareto_front(self) -> tuple[TrialRecord, ...]:
        """The complete trials that no other trial dominates; with one objective, those with the best value."""
        return tuple(self._record(trial) for trial in self.study.best_trials)

    @property
    def refusals(self) -> tuple[Refusals, ...]:
        """The number of archs that each constraint refused, and by how much they missed it."""
        return refusals(self.study, self._settings.constraints)

    @property
    def closest(self) -> TrialRecord | None:
        """The trial that violates the constraints least, if all trials are infeasible; None otherwise, or without trials."""
        trial = closest_infeasible(self.study)
        return None if trial is None else self._record(trial)

    def top_trials(self, top_k: int = 1) -> tuple[TrialRecord, ...]:
        """Returns the `top_k` best complete trials with different archs, the best first.

        With several objectives, trials on the Pareto front come first; within each part, trials are ordered by the first
        objective.
        """
        return tuple(self._record(trial) for trial in ranked(self.study, self.model_space)[:top_k])

    def export_top_models(self, top_k: int = 1, formatter: Formatter = "dict") -> list[Any]:
        """Returns the archs, or the networks, of the best trials, the best first.

        Args:
            top_k: Number of archs, at least 1; fewer are returned if fewer different archs have a complete trial.
            formatter: "dict" returns archs. "instance" returns networks in eval mode, with the weights trained in the trial if
                they were kept, else newly initialized.

        Raises:
            ExperimentError: `formatter` has another value, or `top_k` is below 1.
            WeightsError: Weights that were kept cannot be read, or do not fit the network.
        """
        if top_k < 1:
            raise ExperimentError(f"top_k = {top_k} must be at least 1")
        return top_models(self.model_space, self.top_trials(top_k), formatter)

    def export_data(self) -> list[TrialRecord]:
        """Returns the records of the complete trials, ordered by number."""
        return [record for record in self.trials if record.state == "complete"]

    def best_model(self) -> nn.Module:
        """Returns the network of the best trial in eval mode, with trained weights if they were kept (see `export_top_models`).

        Raises:
            ExperimentError: No trial is complete; the message says why.
            WeightsError: Weights that were kept cannot be read, or do not fit the network.
        """
        models = self.export_top_models(formatter="instance")
        if not models:
            raise ExperimentError(f"{self.name} has no complete trial: {self.stop_reason or 'it did not run yet'}")
        model: nn.Module = models[0]
        return model

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        return record_of(trial, self.model_space, self.objectives, self._settings.trial_folder(trial.number))
