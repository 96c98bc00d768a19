"""`ProgressBar`, which shows the progress of an experiment in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hubserve.experiment.trial_record import TrialRecord
from hubserve.training.evaluator import Objective


class ProgressBar:
    """Shows the number of evaluated trials, the numbers of failed, pruned and infeasible ones, and the best score.

    Args:
        title: Text before the bar.
        objective: The objective whose best value is shown.
        shown: True shows the bar, False hides it; None shows it if the standard error is a terminal.
    """

    def __init__(self, title: str, objective: Objective, *, shown: bool | None = None) -> None:
        self._objective = objective
        self._best: float | None = None
        self._others = dict.fromkeys(("failed", "pruned", "infeasible"), 0)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not (sys.stderr.isatty() if shown is None else shown),
        )
        self._task = self._bar.add_task(title, total=None, note="")

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def begin(self, done: int, total: int | None) -> None:
        """Sets the number of trials evaluated so far, and the number at which the search ends; None if it has no such limit."""
        self._bar.update(self._task, completed=done, total=total)

    def advance(self, record: TrialRecord) -> None:
        """Updates the bar with a trial that has ended."""
        if record.state in self._others:
            self._others[record.state] += 1
        if record.state == "complete":
            value = record.scores[self._objective.name]
            better = max if self._objective.direction == "maximize" else min
            self._best = value if self._best is None else better(self._best, value)
        self._bar.update(self._task, advance=record.state != "infeasible", note=self._note())

    def step(self, row: Mapping[str, Any]) -> None:
        """Shows the step number and the loss of a row of a one-shot strategy's history."""
        loss = row.get("train_loss")
        note = f"step {row.get('step')}" + ("" if loss is None else f", loss {loss:.3g}")
        self._bar.update(self._task, note=note)

    def _note(self) -> str:
        parts = [] if self._best is None else [f"best {self._objective.name} {self._best:.4g}"]
        return ", ".join(parts + [f"{count} {state}" for state, count in self._others.items() if count])
