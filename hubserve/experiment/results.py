"""What an experiment found, read from its study: trials, the best archs and their networks."""

from dataclasses import replace
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial
from torch import nn

from hubserve.errors import ExperimentError
from hubserve.experiment.settings import ExperimentSettings
from hubserve.experiment.study import open_study
from hubserve.experiment.top_models import Formatter, ranked, top_models
from hubserve.experiment.trial_record import TrialRecord, is_trial, record_of


class ExperimentResults:
    """The settings of an experiment and the results in its study; `NasExperiment` adds the running of it.

    Args:
        settings: Settings of the experiment.

    Attributes:
        model_space: Space that is searched.
        evaluator: Evaluator that scores archs.
        strategy: Strategy of the experiment; a sampler of Optuna is wrapped in one.
        objectives: Objectives that are optimized.
        name: Name of the experiment, which is that of the study, too.
        id: The same name, under NNI's name for it.
        folder: Folder of the study and of what trials leave.
        stop_reason: Why the last run ended; None before the first one ended.
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
        """The Optuna study, which is created or opened the first time.

        Raises:
            ExperimentError: There is a study of this name that has another space or other objectives.
        """
        if self._study is None:
            self._study, seed = open_study(self._settings)
            self._settings = replace(self._settings, seed=seed)
        return self._study

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials, in the order of their numbers."""
        return tuple(self._record(trial) for trial in self.study.get_trials(deepcopy=False) if is_trial(trial))

    def list_trial_jobs(self) -> list[TrialRecord]:
        """All trials, under NNI's name for them."""
        return list(self.trials)

    @property
    def pareto_front(self) -> tuple[TrialRecord, ...]:
        """The complete trials that no other one beats in every objective; with one objective, the best one."""
        return tuple(self._record(trial) for trial in self.study.best_trials)

    def top_trials(self, top_k: int = 1) -> tuple[TrialRecord, ...]:
        """The best complete trials with different archs, the best first.

        With several objectives, those of the Pareto front come first, and then the first objective decides.
        """
        return tuple(self._record(trial) for trial in ranked(self.study, self.model_space)[:top_k])

    def export_top_models(self, top_k: int = 1, formatter: Formatter = "dict") -> list[Any]:
        """The archs of the best trials, the best first, or their networks.

        Args:
            top_k: Number of archs, at least 1; fewer are returned where fewer trials are complete.
            formatter: "dict" returns archs. "instance" returns networks in eval mode, with the weights that were trained in
                the trial where it kept them, and newly initialized ones otherwise.

        Raises:
            ExperimentError: The formatter is another one, or `top_k` is below 1.
        """
        if top_k < 1:
            raise ExperimentError(f"top_k = {top_k} must be at least 1")
        return top_models(self.model_space, self.top_trials(top_k), formatter)

    def export_data(self) -> list[TrialRecord]:
        """The complete trials, in the order of their numbers."""
        return [record for record in self.trials if record.state == "complete"]

    def best_model(self) -> nn.Module:
        """The network of the best trial, in eval mode; see `export_top_models`.

        Raises:
            ExperimentError: No trial is complete; the message says why.
        """
        models = self.export_top_models(formatter="instance")
        if not models:
            raise ExperimentError(f"{self.name} has no complete trial: {self.stop_reason or 'it did not run yet'}")
        model: nn.Module = models[0]
        return model

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        return record_of(trial, self.model_space, self.objectives, self._settings.trial_folder(trial.number))
