"""What an experiment found, read from its study: trials, the best archs and their networks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial
from torch import nn

from hubserve.errors import ExperimentError
from hubserve.experiment.settings import ExperimentSettings
from hubserve.experiment.study import open_study
from hubserve.experiment.top_models import Formatter, ranked, top_models
from hubserve.experiment.trial_record import TrialRecord, is_trial, record_of
from hubserve.space import ModelSpace
from hubserve.strategy import OneShotStrategy, Strategy
from hubserve.training.evaluator import Evaluator, Objective


class ExperimentResults:
    """The settings of an experiment and the results in its study; `NasExperiment` adds the running of it.

    Args:
        settings: Settings of the experiment.

    Attributes:
        stop_reason: Why the last run ended; None before the first one ended.
    """

    def __init__(self, settings: ExperimentSettings) -> None:
        self._settings = settings
        self._study: Study | None = None
        self.stop_reason: str | None = None

    @property
    def model_space(self) -> ModelSpace:
        """The space that is searched."""
        return self._settings.model_space

    @property
    def evaluator(self) -> Evaluator:
        """What scores archs."""
        return self._settings.evaluator

    @property
    def strategy(self) -> Strategy | OneShotStrategy:
        """The strategy; a sampler of Optuna is wrapped in one."""
        return self._settings.strategy

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimized."""
        return self._settings.objectives

    @property
    def name(self) -> str:
        """The name, which is that of the study, too."""
        return self._settings.name

    @property
    def id(self) -> str:
        """The name, under NNI's name for it."""
        return self.name

    @property
    def folder(self) -> Path:
        """The folder of the study and of what trials leave."""
        return self._settings.folder

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
