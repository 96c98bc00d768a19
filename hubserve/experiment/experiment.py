"""`NasExperiment`, which searches a model space with a strategy and an evaluator and stores every trial in an Optuna study."""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from hubserve.errors import ExperimentError
from hubserve.experiment.constraints import Constraint, InputShape, Measure
from hubserve.experiment.executors import Executor
from hubserve.experiment.kept_weights import KeptWeights
from hubserve.experiment.nni_config import ExperimentConfig
from hubserve.experiment.one_shot_run import train_supernet, use_supernet
from hubserve.experiment.progress_bar import ProgressBar
from hubserve.experiment.refusals import closest_to_feasible
from hubserve.experiment.results import ExperimentResults
from hubserve.experiment.search_loop import SearchInputs, search
from hubserve.experiment.settings import ExperimentSettings
from hubserve.experiment.study import exists, storage_of
from hubserve.experiment.time_spent import seconds_spent
from hubserve.experiment.trial_record import TrialRecord, was_evaluated
from hubserve.experiment.warm_start import WARM_STARTED, EarlierStudy, add_earlier_trials, check_warm_start
from hubserve.home import home
from hubserve.space import ModelSpace
from hubserve.strategy import OneShotResult, OneShotStrategy, Random, Strategy, as_strategy
from hubserve.strategy.optuna_internals import storage_of_study
from hubserve.training.evaluator import Evaluator, Objective


class NasExperiment(ExperimentResults):
    """Searches a model space: asks the strategy for archs, evaluates them, and stores every trial in an Optuna study.

    The study is by default a file, which optuna-dashboard opens. A killed process loses no finished trial: run the experiment
    again with the same name, and trials that were running begin again under their old numbers. With one worker the same seeds
    give the same history, whether or not the search was killed in between.

    Args:
        model_space: The space to search.
        evaluator: Scores archs, and says which scores are objectives and whether larger is better.
        strategy: A strategy of `hubserve.strategy` (multi-trial or one-shot), or any Optuna sampler.
        config: Settings with the names that NNI uses, see `ExperimentConfig`; None uses its default values. `max_trials` and
            `max_seconds`, if they are given, are written into this object.
        name: Name of the experiment; an experiment of this name in `storage` is continued. None generates a new name.
        storage: File, URL or Optuna storage of the study; None is the file `study.journal` in `folder`.
        folder: Folder for the study and the files of trials; None is HUBSERVE_HOME/experiments/NAME.
        max_trials: Number of evaluated trials, including those of earlier runs, after which the search ends; infeasible trials
            are not counted. None sets no limit: in a large space the search then continues until `max_seconds` or `stop`.
        max_seconds: Number of seconds of searching and of training a supernet, over all runs, after which no trial begins;
            running trials are finished. None sets no limit.
        max_trial_seconds: Number of seconds, above 0, after which the evaluation of a trial is ended; it counts as failed and
            the search goes on. An exception ends it; a process of an executor in which native code does not return to Python
            is ended 5 seconds later. In this process such code is not ended. None sets no limit.
        constraints: Constraints on measures of an arch; an arch that violates one is not evaluated.
        objectives: The objectives to optimize, which may name measures as well; None uses the evaluator's objectives.
        measures: Functions of a space and an arch, by the name of what they measure; called in this order after "params" and
            "macs", which need no function.
        input_shape: Shape of one input image, (channels, height, width), or the tensors that a network is called with, for
            "params" and "macs"; None uses the inputs of a space of the hub.
        pruner: Optuna pruner that ends trials early because of the values they report; None prunes nothing.
        executor: Runs the trials; None uses the executor of `config`, which by default runs them in this process.
        repeat: True continues when every arch of the space had a trial, for evaluations with random results.
        seed: Seed of the random numbers of evaluations; None draws a seed. The strategy has its own seed.
        keep_weights: Number of the best archs whose trained weights are kept on disk, at least 1; trials on the Pareto front
            keep theirs as well.
        progress: True shows a progress bar, False none; None shows it if the standard error is a terminal.
        on_trial: Called with the record of each trial after it has ended.
        search_strategy: Strategy or Optuna sampler that searches the supernet trained by a one-shot strategy such as
            RandomOneShot, within the limits above; its trials use the shared weights. None only trains the supernet.
        warm_start: Earlier studies of the same space with the same scores, whose complete trials are added before the first
            trial: files or folders of experiments or search jobs, URLs, or Optuna studies. Strategies learn from them, and
            they are among the results; they do not count towards `max_trials`.
        on_step: Called after each step of a one-shot strategy with its row of the history.

    Attributes:
        stop_reason: Sentence that says why the last run ended; None before the first run has ended.
        one_shot: Result of a one-shot strategy: its supernet and the history of its steps; None before it has ended.

    Raises:
        ExperimentError: An argument is out of its range, two arguments cannot be combined, or a constraint or an objective is a
            measure that has no function, or that needs an `input_shape`.

    >>> experiment = NasExperiment(space, evaluator, strategy, max_trials=100, constraints=[Constraint("macs", "<=", 300e6)])
    >>> experiment.run()
    >>> experiment.export_top_models(formatter="dict")
    [{'ks_0': 3, 'depth': 2}]
    """

    def __init__(
        self,
        model_space: ModelSpace,
        evaluator: Evaluator,
        strategy: BaseSampler | OneShotStrategy,
        config: ExperimentConfig | None = None,
        *,
        name: str | None = None,
        storage: BaseStorage | str | Path | None = None,
        folder: Path | str | None = None,
        max_trials: int | None = None,
        max_seconds: float | None = None,
        max_trial_seconds: float | None = None,
        constraints: Sequence[Constraint] = (),
        objectives: Sequence[Objective] | None = None,
        measures: Mapping[str, Measure] | None = None,
        input_shape: InputShape | None = None,
        pruner: BasePruner | None = None,
        executor: Executor | None = None,
        repeat: bool = False,
        seed: int | None = None,
        keep_weights: int = 20,
        progress: bool | None = None,
        on_trial: Callable[[TrialRecord], None] | None = None,
        search_strategy: BaseSampler | None = None,
        warm_start: Sequence[EarlierStudy] = (),
        on_step: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        name = name or f"{type(model_space).__name__}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        sampler = strategy if isinstance(strategy, BaseSampler) else search_strategy or Random(seed=seed)
        proposes = as_strategy(sampler)
        super().__init__(
            ExperimentSettings(
                model_space=model_space,
                evaluator=evaluator,
                strategy=proposes if sampler is strategy else strategy,  # type: ignore[arg-type] # It is no sampler.
                sampler=proposes,
                searches_supernet=search_strategy is not None,
                name=name,
                folder=home() / "experiments" / name if folder is None else Path(folder),
                storage=storage,
                objectives=tuple(evaluator.objectives if objectives is None else objectives),
                constraints=tuple(constraints),
                measures=dict(measures or {}),
                input_shape=input_shape,
                pruner=pruner or NopPruner(),
                repeat=repeat,
                seed=secrets.randbelow(2**31) if seed is None else seed,
                keep_weights=keep_weights,
                on_step=on_step,
                max_trial_seconds=max_trial_seconds,
                warm_start=tuple(warm_start),
            )
        )
        self._executor, self._progress, self._on_trial = executor, progress, on_trial
        self.config = config or ExperimentConfig()
        if max_trials is not None:
            self.config.max_trial_number = max_trials
        if max_seconds is not None:
            self.config.max_experiment_duration = max_seconds
        self.one_shot: OneShotResult | None = None
        self._stop = threading.Event()

    def run(self) -> str:
        """Searches until a limit is reached, the space is exhausted, or `stop` is called; continues an experiment that exists.

        Returns:
            A sentence that says why the search ended; `stop_reason` is the same.

        Raises:
            ExperimentError: This experiment is running already, the study has another space or other objectives, a study of
                `warm_start` does not fit, trials in other processes cannot reach the storage, there is a `max_trial_seconds`
                for trials in this process and this is not the main thread, or the function of a measure does not return it.
            OSError: A disk is full, read-only or forbidden (StorageError if an evaluation met that); the trials that were
                running begin again in the next run.
        """
        self._stop.clear()
        settings, executor = self._settings, self._executor or self.config.executor()
        with self._locked(), executor, ProgressBar(self.name, self.objectives[0], shown=self._progress) as bar:
            settings.sampler.bind(self.model_space, max_trials=self.config.max_trial_number)
            check_warm_start(settings)
            settings.check_executor(executor, storage_of_study(self.study))
            add_earlier_trials(self.study, self._settings)
            inputs = self._inputs(executor, bar)
            if isinstance(settings.strategy, Strategy):
                reason = search(inputs)
            else:
                self.one_shot = train_supernet(settings.strategy, inputs, bar.step)
                reason = use_supernet(self.one_shot, inputs)
        self.stop_reason = "; ".join(filter(None, (reason, closest_to_feasible(self.study, settings.constraints))))
        return self.stop_reason

    @property
    def warm_start_notes(self) -> list[str]:
        """A sentence for each earlier study, about how many of its trials were added; empty before that and without any."""
        return list(self.study.user_attrs.get(WARM_STARTED, []))

    def resume(self) -> str:
        """Continues an experiment that exists, as `run` does, and returns why the search ended.

        Raises:
            ExperimentError: There is no experiment of this name, or an error that `run` raises.
        """
        if not exists(self.name, storage_of(self._settings)):
            raise ExperimentError(f"there is no experiment {self.name!r} in {self.folder}; run() begins one")
        return self.run()

    def run_or_resume(self) -> str:
        """Does the same as `run`, which continues an experiment that exists; NNI has this name for it."""
        return self.run()

    def stop(self) -> None:
        """Stops a running search: no further trial begins, and running trials are finished.

        Call it from another thread, from `on_trial` or from an evaluation in this process. A call before `run` has no effect.
        """
        self._stop.set()

    def _inputs(self, executor: Executor, bar: ProgressBar) -> SearchInputs:
        """Returns the arguments of the search loop for this run."""
        study, seconds = self.study, self.config.max_seconds
        weights = KeptWeights(study, self.model_space, self.folder / "trials", self._settings.keep_weights)
        bar.begin(sum(map(was_evaluated, study.get_trials(deepcopy=False))), self.config.max_trial_number)

        def ended(trial: FrozenTrial) -> None:
            weights.update(trial)
            record = self._record(trial)
            bar.advance(record)
            if self._on_trial is not None:
                self._on_trial(record)

        return SearchInputs(
            settings=self._settings,
            evaluator=self.evaluator,
            study=study,
            executor=executor,
            max_trials=self.config.max_trial_number,
            deadline=None if seconds is None else time.monotonic() + seconds - seconds_spent(study),
            on_end=ended,
            should_stop=self._stop.is_set,
        )

    def _locked(self) -> contextlib.AbstractContextManager[object]:
        """Acquires the experiment's file lock and returns a context manager that releases it.

        The operating system releases the lock if the process is killed.

        Raises:
            ExperimentError: Another process, or another experiment object of this process, holds the lock.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock(self.folder / "experiment.lock").acquire(timeout=0)
        except Timeout as error:
            raise ExperimentError(f"another process runs the experiment in {self.folder}; wait for its end") from error
