"""`ExperimentConfig`, the limits and the executor of an experiment with the names that NNI uses."""

import re
from dataclasses import dataclass, fields
from typing import Any

from hubserve.errors import ExperimentError
from hubserve.experiment.executors import Executor, InlineExecutor
from hubserve.experiment.process_executor import ProcessExecutor
from hubserve.similar_names import suggest

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass
class ExperimentConfig:
    """The settings of `experiment.config`, which may be changed until the experiment runs.

    Attributes:
        max_trial_number: Number of evaluated trials, at least 1, after which the search ends (`max_trials` of NasExperiment);
            None sets no limit.
        max_experiment_duration: Time after which no trial begins: seconds above 0, or text of a number and one of s, m, h and d
            (days), such as "30m" or "2h"; None sets no limit.
        trial_concurrency: Number of trials that run at once, at least 1; if it is more, they run in separate processes. Not
            used if NasExperiment has an `executor`.
        execution_engine: "sequential" runs trials in this process, "ts" in separate processes; None chooses by
            `trial_concurrency`.

    Raises:
        ExperimentError: An attribute of another name is set, or a value is out of its range.
    """

    max_trial_number: int | None = None
    max_experiment_duration: float | str | None = None
    trial_concurrency: int = 1
    execution_engine: str | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        known = {field.name for field in fields(self)}
        if name not in known:
            raise ExperimentError(f"an experiment has no setting {name!r}. {suggest(name, known)}")
        counts = name == "trial_concurrency" or (name == "max_trial_number" and value is not None)
        if counts and (value is None or value < 1):
            raise ExperimentError(f"{name} = {value} must be at least 1")
        if name == "execution_engine" and value not in (None, "sequential", "ts"):
            raise ExperimentError(
                f"execution_engine = {value!r} is not one of 'sequential', 'ts'; for Ray give executor=RayExecutor()"
            )
        if name == "max_experiment_duration":
            _seconds(value)
        object.__setattr__(self, name, value)

    @property
    def max_seconds(self) -> float | None:
        """`max_experiment_duration` in seconds; None sets no limit."""
        return _seconds(self.max_experiment_duration)

    def executor(self) -> Executor:
        """Returns a new executor for an experiment without an `executor` argument: a ProcessExecutor or an InlineExecutor.

        Raises:
            ExperimentError: `execution_engine` is "sequential" and `trial_concurrency` is above 1.
        """
        in_processes = self.execution_engine == "ts" or (self.execution_engine is None and self.trial_concurrency > 1)
        if not in_processes and self.trial_concurrency > 1:
            raise ExperimentError(f"the sequential engine runs single trials, and trial_concurrency = {self.trial_concurrency}")
        return ProcessExecutor(self.trial_concurrency) if in_processes else InlineExecutor()


def _seconds(duration: float | str | None) -> float | None:
    if duration is None or isinstance(duration, (int, float)):
        value = None if duration is None else float(duration)
    else:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", duration)
        if found is None:
            raise ExperimentError(f"max_experiment_duration = {duration!r}: seconds, or a number with s, m, h or d")
        value = float(found[1]) * _UNITS[found[2]]
    if value is not None and not value > 0:
        raise ExperimentError(f"max_experiment_duration = {duration!r} must be above 0")
    return value
