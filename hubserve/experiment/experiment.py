"""NasExperiment: a space, an evaluator and a strategy, run to an end and kept."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna import Study
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial
from torch import nn

from hubserve.errors import ExperimentError
from hubserve.experiment.constraints import ComplexityOf, Constraint, InputShape, Measure, Screen
from hubserve.experiment.executors import Executor
from hubserve.experiment.nni_config import ExperimentConfig
from hubserve.experiment.one_shot_run import (
    OneShot,
    OneShotResult,
    add_found,
    training_evaluator,
)
from hubserve.experiment.progress_bar import Progress
from hubserve.experiment.search_loop import Plan, search
from hubserve.experiment.study import SupernetClock, exists, open_study, seconds_spent, storage_of
from hubserve.experiment.top_models import Formatter, drop_weights, ranked, top_models
from hubserve.experiment.trial_record import INFEASIBLE, REASON, TrialRecord, is_trial, record_of, was_evaluated
from hubserve.home import home
from hubserve.hub.base import HubSpace
from hubserve.space import Arch, ModelSpace
from hubserve.strategy import Random, Strategy, SupernetEvaluator, as_strategy
from hubserve.training.evaluator import Evaluator, Objective, Trial
from hubserve.training.weights_file import WEIGHTS_FILE

MEASURES = ("params", "macs", "latency_ms")


class NasExperiment:
    """Searches a model space: asks the strategy, evaluates, keeps everything in an Optuna study, ends by itself.

    The study is a file that optuna-dashboard opens. A killed process loses no finished trial: run the experiment again under
    the same name, and trials that were under way begin anew under their own numbers. With one worker the same seeds give the
    same history, killed in between or not.

    Args:
        model_space: searched.
        evaluator: scores archs; says what is better.
        strategy: of hubserve.strategy, one-shot ones too, or any sampler of Optuna.
        config: NNI's names of some of what follows.
        name: of the experiment; one that exists goes on. A new one is made unless given.
        storage: a file, a URL or a storage of Optuna; `study.journal` in `folder` unless given.
        folder: of the study and of what trials leave; HUBSERVE_HOME/experiments/NAME unless given.
        repeat: go on when every arch of the space had a trial, for evaluations that vary.
        max_trials: evaluated trials, those of earlier runs included. Infeasible ones do not count. Without it, a search in a
            large space goes on until its time is over or `stop` is called.
        max_seconds: of searching, and of training a supernet, earlier runs included; trials under way then are finished.
        constraints: on measures of an arch; it is not evaluated where it misses one.
        objectives: what is improved; the evaluator's own unless given. They may name measures too.
        measures: further ones, name -> function of space and arch, tried in this order after "params", "macs", "latency_ms".
        input_shape: of one picture, for the measures; a space of the hub knows its own.
        pruner: of Optuna; ends trials early by what they report. None prunes nothing.
        executor: where trials run; in this process unless given.
        seed: of what is random in evaluations. The strategy has its own.
        keep_weights: trials whose trained weights stay on disk, the best ones; those of a Pareto front stay all.
        progress: show a bar; where the output is a terminal unless given.
        on_trial: told of each trial that ended.
        search_strategy: for a one-shot strategy that ends in a supernet, such as RandomOneShot: searches it then, with the
            budgets above. Its trials have shared weights.
        on_step: told of each step of a one-shot strategy, a row of its history.

    Attributes:
        stop_reason: why the last run ended.
        one_shot: what a one-shot strategy ended in: its supernet, and the history of its steps.

    Raises:
        ExperimentError: something does not go together; the message says what.

    >>> experiment = NasExperiment(space, evaluator, strategy, max_trials=100, constraints=[Constraint("macs", "<=", 300e6)])
    >>> experiment.run()
    >>> experiment.export_top_models(formatter="dict")
    [{'ks_0': 3, 'depth': 2}]
    """

    def __init__(
        self,
        model_space: ModelSpace,
        evaluator: Evaluator,
        strategy: BaseSampler | OneShot,
        config: ExperimentConfig | None = None,
        *,
        name: str | None = None,
        storage: BaseStorage | str | Path | None = None,
        folder: Path | str | None = None,
        max_trials: int | None = None,
        max_seconds: float | None = None,
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
        on_step: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.model_space = model_space
        self.evaluator = evaluator
        self.strategy: Strategy | OneShot = as_strategy(strategy) if isinstance(strategy, BaseSampler) else strategy
        # What proposes archs: with a one-shot strategy, once its supernet is trained.
        later = search_strategy or Random(seed=seed)
        self._sampler = self.strategy if isinstance(self.strategy, Strategy) else as_strategy(later)
        self._search_after = search_strategy is not None
        self.one_shot: OneShotResult | None = None
        self.config = config or ExperimentConfig()
        if max_trials is not None:
            self.config.max_trial_number = max_trials
        if max_seconds is not None:
            self.config.max_experiment_duration = max_seconds
        self.name = name or f"{type(model_space).__name__}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        self.objectives = tuple(evaluator.objectives if objectives is None else objectives)
        self.folder = home() / "experiments" / self.name if folder is None else Path(folder)
        self.stop_reason: str | None = None
        self._constraints = tuple(constraints)
        self._measures = dict(measures or {})
        self._input_shape = input_shape
        self._pruner = pruner or NopPruner()
        self._executor = executor
        self._repeat = repeat
        self._keep_weights = keep_weights
        self._seed = secrets.randbelow(2**31) if seed is None else seed
        self._progress = progress
        self._on_trial = on_trial or (lambda record: None)
        self._on_step = on_step or (lambda row: None)
        self._storage_place = storage
        self._stop = threading.Event()
        self._study: Study | None = None
        self._check()

    @property
    def id(self) -> str:
        """The name, as NNI calls it."""
        return self.name

    @property
    def study(self) -> Study:
        """The Optuna study underneath; made where it is new."""
        if self._study is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._study, self._seed = open_study(
                self.name,
                storage_of(self._storage_place, self.folder),
                space=self.model_space,
                objectives=self.objectives,
                strategy=self._sampler,
                pruner=self._pruner,
                seed=self._seed,
            )
        return self._study

    def run(self) -> str:
        """Searches until a budget is spent, the space is exhausted, or `stop` is called; goes on where it was.

        Returns:
            Why it ended; also in `stop_reason`.

        Raises:
            ExperimentError: another process runs this experiment, or trials in other processes cannot reach the storage.
        """
        self._stop.clear()
        executor = self._executor or self.config.executor()
        with self._only_one(), executor, self._bar() as bar:
            self._sampler.bind(self.model_space, max_trials=self.config.max_trial_number)
            self._check_storage(executor)
            plan = self._plan(executor, bar)
            reason = search(plan) if isinstance(self.strategy, Strategy) else self._run_one_shot(self.strategy, plan, bar)
        self.stop_reason = self._explained(reason)
        return self.stop_reason

    def resume(self) -> str:
        """As `run`, for an experiment that was begun before.

        Raises:
            ExperimentError: there is none of this name, or as `run`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not exists(self.name, storage_of(self._storage_place, self.folder)):
            raise ExperimentError(f"there is no experiment {self.name!r} in {self.folder}; run() begins one")
        return self.run()

    def stop(self) -> None:
        """Asks a running search to end, from another thread, `on_trial` or an evaluation: no further trial begins."""
        self._stop.set()

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials, in the order of their numbers."""
        return tuple(self._record(trial) for trial in self.study.get_trials(deepcopy=False) if is_trial(trial))

    def list_trial_jobs(self) -> list[TrialRecord]:
        """The trials, as NNI calls them."""
        return list(self.trials)

    @property
    def pareto_front(self) -> tuple[TrialRecord, ...]:
        """The complete trials that no other beats in every objective; with one objective, the best one."""
        return tuple(self._record(trial) for trial in self.study.best_trials)

    def top_trials(self, top_k: int = 1) -> tuple[TrialRecord, ...]:
        """The best complete trials with different archs, the best first; with several objectives those of the Pareto front
        come first, and among equals the first objective decides.
        """
        return tuple(self._record(trial) for trial in ranked(self.study, self.model_space)[:top_k])

    def export_top_models(self, top_k: int = 1, formatter: Formatter = "dict") -> list[Any]:
        """The archs of the best trials, the best first, or their networks.

        Args:
            top_k: how many; fewer where there are fewer.
            formatter: "dict" gives archs. "instance" gives networks in eval mode, with the weights that were trained in the
                trial where it kept them, fresh ones otherwise.

        Raises:
            ExperimentError: unknown formatter, or `top_k` below 1.
        """
        if top_k < 1:
            raise ExperimentError(f"top_k = {top_k} must be at least 1")
        return top_models(self.model_space, self.top_trials(top_k), formatter)

    def export_data(self) -> list[TrialRecord]:
        """The complete trials."""
        return [record for record in self.trials if record.state == "complete"]

    def best_model(self) -> nn.Module:
        """The network of the best trial; see `export_top_models`.

        Raises:
            ExperimentError: no trial completed; says why.
        """
        models = self.export_top_models(formatter="instance")
        if not models:
            raise ExperimentError(f"{self.name} has no complete trial: {self.stop_reason or 'it did not run yet'}")
        model: nn.Module = models[0]
        return model

    def _run_one_shot(self, strategy: OneShot, plan: Plan, bar: Progress) -> str:
        """Trains the supernet, or takes up its checkpoint; then its arch is one trial, or its archs are searched."""
        training = training_evaluator(self.evaluator)

        def stepped(row: dict[str, Any]) -> None:
            bar.step(row)
            clock.tick()
            self._on_step(row)

        with SupernetClock(plan.study) as clock:
            result = strategy.run(
                self.model_space,
                training,
                seed=plan.seed,
                folder=self.folder / "supernet",
                on_step=stepped,
                should_stop=lambda: self._stop.is_set() or (plan.deadline is not None and time.monotonic() >= plan.deadline),
            )
        self.one_shot = result
        if result.stopped:
            return "stopped on request" if self._stop.is_set() else "the time is over"
        if result.supernet is None:
            raise ExperimentError(f"{type(strategy).__name__} kept no weights to score archs with")
        # All archs of a search are judged alike; one that is the end of it is also told as it was before.
        shared = SupernetEvaluator(result.supernet, training, seed=plan.seed, compare=result.arch is not None)
        if result.arch is not None:
            return self._keep_found(plan, result.arch, shared)
        if not self._search_after:
            return "the supernet is trained; give search_strategy to search it, or hand one_shot.supernet to another search"
        return search(replace(plan, evaluator=shared))

    def _keep_found(self, plan: Plan, arch: Arch, shared: Evaluator) -> str:
        if not plan.study.get_trials(deepcopy=False):
            trial = Trial(0, plan.seed, plan.trial_folder(0), self.name)
            plan.told(add_found(plan.study, self.model_space, arch, shared, plan.screen, self.objectives, trial))
        return f"{type(self.strategy).__name__} trained its epochs and ended in one arch"

    def _plan(self, executor: Executor, bar: Progress) -> Plan:
        study, seconds = self.study, self.config.max_seconds
        trials = study.get_trials(deepcopy=False)
        bar.begin(sum(map(was_evaluated, trials)), self.config.max_trial_number)

        def told(trial: FrozenTrial) -> None:
            record = self._record(trial)
            if record.folder is not None and (record.folder / WEIGHTS_FILE).exists():
                drop_weights(study, self.model_space, record.folder.parent, self._keep_weights)
            bar.advance(record)
            self._on_trial(record)

        return Plan(
            study=study,
            space=self.model_space,
            evaluator=self.evaluator,
            objectives=self.objectives,
            screen=self._screen(),
            executor=executor,
            repeat=self._repeat,
            max_trials=self.config.max_trial_number,
            deadline=None if seconds is None else time.monotonic() + seconds - seconds_spent(study),
            seed=self._seed,
            folder=self.folder,
            told=told,
            stopped=self._stop.is_set,
        )

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        return record_of(trial, self.model_space, self.objectives, self.folder / "trials" / f"{trial.number:06d}")

    def _bar(self) -> Progress:
        return Progress(self.name, self.objectives[0], shown=self._progress)

    def _check(self) -> None:
        if not isinstance(self.strategy, (Strategy, OneShot)):
            raise ExperimentError(
                f"strategy = {self.strategy!r} is neither of hubserve.strategy nor a sampler of Optuna; give Random(), say"
            )
        if not isinstance(self.strategy, Strategy):
            training_evaluator(self.evaluator)
        elif self._search_after:
            raise ExperimentError("search_strategy follows a one-shot strategy; with another one, leave it out")
        if self._keep_weights < 1:
            raise ExperimentError(f"keep_weights = {self._keep_weights} must be at least 1")
        if not self.objectives:
            raise ExperimentError("objectives is empty; an experiment improves at least one number")
        self._screen()

    def _screen(self) -> Screen:
        wanted = [objective.name for objective in self.objectives if objective.name in (*MEASURES, *self._measures)]
        if not wanted and not self._constraints:
            return Screen(self.model_space, (), (), {})
        sizes = ComplexityOf(self._shape())
        return Screen(self.model_space, self._constraints, wanted, {"params": sizes, "macs": sizes} | self._measures)

    def _shape(self) -> InputShape:
        if self._input_shape is not None:
            return self._input_shape
        if isinstance(self.model_space, HubSpace):
            return (3, self.model_space.input_size, self.model_space.input_size)
        raise ExperimentError(
            f"constraints and measured objectives need the shape of a picture, which {type(self.model_space).__name__} does "
            "not tell: give input_shape=(channels, height, width)"
        )

    def _check_storage(self, executor: Executor) -> None:
        memory = isinstance(self.study._storage, InMemoryStorage)
        if not isinstance(self.strategy, Strategy) and not executor.shares_memory:
            raise ExperimentError("a supernet is trained, and searched, in this process; leave executor out")
        if memory and not executor.shares_memory and not isinstance(self._pruner, NopPruner):
            raise ExperimentError(
                "trials in other processes cannot report into a study in memory; give storage a file or a URL"
            )

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        """Holds the experiment's lock, which a killed process loses by itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "experiment.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ExperimentError(f"another process runs the experiment in {self.folder}; wait for its end") from error
        try:
            yield
        finally:
            lock.release()

    def _explained(self, reason: str) -> str:
        """With a word on the constraints where no trial met them all."""
        infeasible = [trial for trial in self.study.get_trials(deepcopy=False) if INFEASIBLE in trial.user_attrs]
        if not infeasible or any(record.state != "infeasible" for record in self.trials):
            return reason
        closest = min(infeasible, key=lambda trial: max(trial.user_attrs[INFEASIBLE].values()))
        return (
            f"{reason}; no arch met the constraints. The closest of {len(infeasible)} is that of trial {closest.number}: "
            f"{closest.user_attrs[REASON]}"
        )
