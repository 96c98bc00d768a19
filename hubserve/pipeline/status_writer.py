"""Writes down how a job goes: from trials and steps to the status that everybody reads."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hubserve.errors import HubserveError
from hubserve.experiment import TrialRecord
from hubserve.jobs import Best, Job, JobStatus, LabelProbabilities, ObjectiveInfo, OneShotView, Phase, Run, TrialRow
from hubserve.pipeline.downsample import Thinned

Draw = Callable[[JobStatus, Job, Path], list[Path]]
"""Draws the pictures of a search into a folder; returns the files."""

MOST_STEPS = 200
"""Of a one-shot strategy that are kept for the picture of its course."""

PAUSE_SECONDS = 0.5
"""Between two writings of the status while a phase goes on."""


class Report:
    """The status of a job under way.

    Args:
        run: its folder.
        job: its definition.
        on_status: told of each change.
        draw: draws the pictures; None draws none.
    """

    def __init__(self, run: Run, job: Job, on_status: Callable[[JobStatus], None], draw: Draw | None) -> None:
        self._run = run
        self._job = job
        self._on_status = on_status
        self._draw = draw
        self._began = time.monotonic()
        self._phase_began = self._began
        self._written = 0.0
        self._steps: Thinned[Mapping[str, Any]] = Thinned(MOST_STEPS)
        self._probabilities_told = False
        before = run.written_status()
        self._seconds_before = before.seconds
        self.status = before.model_copy(
            update={
                "objectives": [ObjectiveInfo(name=name, direction=way) for name, way in job.objectives.items()],
                "max_trials": job.budget.trials,
                "error": None,
            }
        )

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Whatever ends the block, the status says how."""
        self._write(state="running", message="getting ready")
        try:
            yield
        except KeyboardInterrupt:
            self._write(state="stopped", message="stopped", error=f"stopped; {self._how_to_go_on()}", eta_seconds=None)
            raise
        except HubserveError as error:
            self._write(state="failed", message="failed", error=str(error), eta_seconds=None)
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}; {self._how_to_go_on()}"
            self._write(state="failed", message="failed", error=reason, eta_seconds=None)
            raise
        self._write(state="done", message="done", error=None, eta_seconds=None)

    def phase(self, phase: Phase, message: str) -> None:
        """A phase begins."""
        self._phase_began = time.monotonic()
        self._write(phase=phase, message=message, eta_seconds=None)

    def say(self, message: str, *, done: float | None = None) -> None:
        """What is going on.

        Args:
            message: one sentence.
            done: share of the phase, in (0, 1]; it tells the time that is left.
        """
        spent = time.monotonic() - self._phase_began
        self._write(message=message, eta_seconds=spent / done - spent if done else None, soon=True)

    @property
    def due(self) -> bool:
        """Whether it is time to tell more."""
        return time.monotonic() - self._written >= PAUSE_SECONDS

    def trials(self, trials: Iterable[TrialRecord], front: Iterable[int], best: TrialRecord | None) -> None:
        """The search as it stands."""
        rows = [_row(trial) for trial in trials]
        ended = [row for row in rows if row.state not in ("running", "infeasible")]
        self._write(
            history=rows,
            trials=len(ended),
            pareto=sorted(front),
            best=None if best is None else Best(number=best.number, values=best.scores, arch=best.arch),
            message=f"{len(ended)} trials ended{_refused(rows)}" if rows else "searching",
            eta_seconds=self._eta(ended),
        )

    def step(self, row: Mapping[str, Any]) -> None:
        """A step of a one-shot strategy, as its history has it."""
        if "probabilities" in row and not self._probabilities_told:
            # From now on only the rows that have some: one picture needs them all.
            self._probabilities_told, self._steps = True, Thinned(MOST_STEPS)
        if "probabilities" in row or not self._probabilities_told:
            self._steps.add(row)
        if self.due:
            epochs, epoch = self._job.recipe.epochs, int(row.get("epoch", 0))
            self._write(oneshot=view_of(self._steps.kept))
            self.say(f"epoch {epoch + 1} of {epochs}, loss {row.get('train_loss', math.nan):.4f}", done=epoch / epochs or None)

    def course(self, history: Iterable[Mapping[str, Any]], cost_r2: float | None) -> None:
        """The whole course of a one-shot strategy, once it has ended, and how good its table of costs is."""
        rows = list(history)
        thinned: Thinned[Mapping[str, Any]] = Thinned(MOST_STEPS)
        for row in [row for row in rows if "probabilities" in row] or rows:
            thinned.add(row)
        self._write(oneshot=view_of(thinned.kept).model_copy(update={"cost_r2": cost_r2}))

    def chosen(self, number: int | None, values: Mapping[str, float], arch: Mapping[str, Any]) -> None:
        """The winner."""
        self._write(best=Best(number=number, values=dict(values), arch=dict(arch)))

    def published(self, tag: str | None) -> None:
        """The end of it all."""
        self._write(published=tag)

    def pictures(self) -> list[Path]:
        """Draws what there is to draw; none where nobody draws."""
        found = [] if self._draw is None else self._draw(self.status, self._job, self._run.path / "plots")
        self._write(plots=self._run.plots())
        return found

    def _write(self, *, soon: bool = False, **changes: Any) -> None:
        """Notes the changes; `soon` leaves out the file where it was written just now."""
        seconds = self._seconds_before + time.monotonic() - self._began
        self.status = self.status.model_copy(update={**changes, "updated": datetime.now(UTC), "seconds": seconds})
        if not soon or self.due:
            self._run.write_status(self.status)
            self._written = time.monotonic()
        self._on_status(self.status)

    def _eta(self, ended: list[TrialRow]) -> float | None:
        """Until the budget is spent, by the usual time of a trial; None before the first one ended."""
        took = [row.seconds for row in ended if row.seconds is not None]
        budget = self._job.budget
        if budget.trials is None or not took:
            return None
        left = max(0, budget.trials - len(ended)) * statistics.median(took) / self._job.executor.workers
        if budget.seconds is None:
            return left
        return max(0.0, min(left, budget.seconds - sum(took) / self._job.executor.workers))

    def _how_to_go_on(self) -> str:
        return f"`hubserve search --run {self._run.path}` goes on where it was"


def view_of(steps: Iterable[Mapping[str, Any]]) -> OneShotView:
    """Rows of a one-shot history as one record: only labels whose probabilities each row tells."""
    rows = list(steps)
    labels: dict[str, LabelProbabilities] = {}
    for label in rows[-1].get("probabilities", {}) if rows else {}:
        told = [row.get("probabilities", {}).get(label) for row in rows]
        if all(told):
            names = list(told[-1])
            labels[label] = LabelProbabilities(candidates=names, probabilities=[[row[name] for name in names] for row in told])
    return OneShotView(steps=[int(row["step"]) for row in rows], loss=[row.get("train_loss") for row in rows], labels=labels)


def _row(trial: TrialRecord) -> TrialRow:
    return TrialRow(
        number=trial.number, values=dict(trial.scores), state=trial.state, seconds=trial.seconds, reason=trial.reason
    )


def _refused(rows: list[TrialRow]) -> str:
    count = sum(row.state == "infeasible" for row in rows)
    return f", {count} archs were beyond a constraint" if count else ""
