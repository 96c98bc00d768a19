"""`StatusWriter`: writes the phases, trials and progress of a running job to status.json in its run folder."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hubserve.errors import HubserveError, StorageError
from hubserve.experiment import TrialRecord
from hubserve.experiment.refusals import Refusals
from hubserve.jobs import (
    Best,
    Closest,
    EpochRow,
    Job,
    JobStatus,
    LabelProbabilities,
    ObjectiveInfo,
    OneShotView,
    PartTime,
    Phase,
    RefusalRow,
    Run,
    SearchJob,
    ShrinkJob,
    TimedPart,
    TrialRow,
    estimated_total,
)
from hubserve.pipeline.downsample_curve import Downsampled
from hubserve.storage_faults import storage_error

Draw = Callable[[JobStatus, Mapping[str, float], Path], list[Path]]
"""Function that draws plots into a folder and returns their files.

Its arguments are the status, the upper bound of each constrained measure by name, and the folder."""

MOST_STEPS = 200
"""Largest number of steps of a one-shot strategy that a status holds."""

PAUSE_SECONDS = 0.5
"""Minimum time in seconds between two writes of status.json within a phase."""


class StatusWriter:
    """Writes the status of a running job; begins with the one that was written last, without its error.

    Args:
        run: The run whose status.json is written.
        on_status: Called with the status after each change.
        draw: Function that draws the plots of the job; None draws none.

    Attributes:
        status: The current status.

    Raises:
        JobError: status.json does not exist, or cannot be read.
    """

    def __init__(self, run: Run, on_status: Callable[[JobStatus], None], draw: Draw | None) -> None:
        self._run = run
        self._search: SearchJob | None = None
        self._on_status = on_status
        self._draw = draw
        self._began = time.monotonic()
        self._phase_began = self._began
        self._in_a_phase = False
        self._subject = ""
        self._outer: Phase = "front"
        self._written = 0.0
        self._steps: Downsampled[Mapping[str, Any]] = Downsampled(MOST_STEPS)
        self._steps_have_probabilities = False
        before = run.written_status()
        self._seconds_before = before.seconds
        self.status = before.model_copy(update={"error": None})

    @contextmanager
    def outcome(self) -> Iterator[None]:
        """Context manager that writes the state in which its block ends.

        The state is "done"; "stopped" after a KeyboardInterrupt; "refused" after a `HubserveError` before the first phase,
        unless a disk caused it; or "failed" after any other error. Errors are raised again; an error of the storage as a
        `StorageError`.
        """
        how_to_continue = f"`hubserve search --run {self._run.path}` goes on where it was"
        try:
            self.write(state="running", message="getting ready")
            yield
        except KeyboardInterrupt:
            self._end("stopped", f"stopped; {how_to_continue}")
            raise
        except Exception as error:
            fault = storage_error(error)
            if fault is not None:
                self._end("failed", f"{fault}; {how_to_continue}")
                raise fault from error
            if isinstance(error, HubserveError):
                self._end("failed" if self._in_a_phase else "refused", str(error))
            else:
                self._end("failed", f"{type(error).__name__}: {error}; {how_to_continue}")
            raise
        self._end("done", None)

    def set_job(self, job: Job, notes: list[str]) -> None:
        """Writes the parts of the job definition that the status shows, and the messages in `notes`."""
        objectives: list[ObjectiveInfo] = []
        if isinstance(job, SearchJob):
            self._search = job
            objectives = [ObjectiveInfo(name=name, direction=direction) for name, direction in job.objectives.items()]
        elif isinstance(job, ShrinkJob):
            objectives = [ObjectiveInfo(name="val_acc", direction="maximize")]
        self.write(objectives=objectives, max_trials=job.max_trials, notes=notes)

    def estimate(self, seconds: Mapping[TimedPart, float]) -> None:
        """Writes the estimated durations of parts of the job, in seconds, and their sum."""
        for part, estimated in seconds.items():
            self._set_time(part, estimated=estimated)
        self.write(estimated_seconds=estimated_total(self.status.times))

    def took(self, part: TimedPart, seconds: float) -> None:
        """Adds `seconds` to the duration of a part of the job, which an earlier process may have begun.

        It is written to the file with the next change.
        """
        before = next((time.seconds for time in self.status.times if time.part == part), None)
        self._set_time(part, seconds=(before or 0.0) + seconds)

    @contextmanager
    def within(self, phase: Phase, subject: str) -> Iterator[None]:
        """Context manager in which the phases of one network of several count as `phase`, and messages begin with `subject`."""
        self._subject, self._outer = f"{subject}: ", phase
        try:
            yield
        finally:
            self._subject = ""

    def note(self, sentence: str) -> None:
        """Adds a sentence to the notes of the job, unless it is there."""
        if sentence not in self.status.notes:
            self.write(notes=[*self.status.notes, sentence])

    def begin(self, phase: Phase, message: str) -> None:
        """Writes that `phase` has begun; `message` describes it in one sentence."""
        if self._subject:
            phase, message = self._outer, self._subject + message
            if phase == self.status.phase and self._in_a_phase:
                return self.write(message=message, eta_seconds=None)
        self._end_phase()
        self._in_a_phase = True
        self._phase_began = time.monotonic()
        self.write(phase=phase, message=message, eta_seconds=None)
        return None

    def progress(self, message: str, *, share: float | None = None) -> None:
        """Writes what the current phase is doing, to the file at most every `PAUSE_SECONDS`.

        Args:
            message: One sentence.
            share: Share of the phase that is done, in (0, 1], from which its remaining time is estimated; None if unknown. It
                has no effect in the block of `within`.
        """
        spent = time.monotonic() - self._phase_began
        eta = spent / share - spent if share and not self._subject else None
        self.write(message=self._subject + message, eta_seconds=eta, throttled=True)

    @property
    def due(self) -> bool:
        """True if at least `PAUSE_SECONDS` have passed since the last write of status.json."""
        return time.monotonic() - self._written >= PAUSE_SECONDS

    def trials(self, trials: Iterable[TrialRecord], front: Iterable[int], best: TrialRecord | None) -> None:
        """Writes all trials of the search, the numbers of those on the Pareto front, and the best one."""
        rows = [_row(trial) for trial in trials]
        ended = [row for row in rows if row.state not in ("running", "infeasible") and row.earlier is None]
        self.write(
            history=rows,
            trials=len(ended),
            pareto=sorted(front),
            best=None if best is None else Best(number=best.number, values=best.scores, arch=best.arch),
            message=f"{len(ended)} trials ended{_infeasible_text(rows, self.status.refusals)}" if rows else "searching",
            eta_seconds=self._eta(ended),
        )

    def refusals(self, found: Iterable[Refusals], closest: TrialRecord | None) -> None:
        """Notes what each constraint refused, and the trial that violates them least if no arch met them.

        They are written to the file together with the next change.
        """
        changes = {
            "refusals": [RefusalRow.model_validate(asdict(row)) for row in found],
            "closest": closest
            and Closest(number=closest.number, values=dict(closest.scores), arch=closest.arch, reason=closest.reason),
        }
        self.status = self.status.model_copy(update=changes)

    def step(self, row: Mapping[str, Any]) -> None:
        """Adds one row of the history of a one-shot strategy, which is written if the file is `due`, or else with a later row.

        At most `MOST_STEPS` rows are kept; once a row has probabilities, only rows with them.

        Args:
            row: "step", and where known "epoch" from 0, "train_loss", and "probabilities": label -> candidate -> probability.
        """
        has_probabilities = "probabilities" in row
        if has_probabilities and not self._steps_have_probabilities:
            # From now on only rows that have some: the plot needs them at each of its steps.
            self._steps_have_probabilities, self._steps = True, Downsampled(MOST_STEPS)
        if has_probabilities or not self._steps_have_probabilities:
            self._steps.add(row)
        if self.due and self._search is not None:
            epochs, epoch = self._search.recipe.epochs, int(row.get("epoch", 0))
            self.write(oneshot=one_shot_view(self._steps.entries))
            self.progress(
                f"epoch {epoch + 1} of {epochs}, loss {row.get('train_loss', math.nan):.4f}", share=epoch / epochs or None
            )

    def one_shot(self, history: Iterable[Mapping[str, Any]], cost_r2: float | None) -> None:
        """Writes the history of a one-shot strategy after its end: at most `MOST_STEPS` rows, those with probabilities if any.

        Args:
            history: All rows, as for `step`.
            cost_r2: Coefficient of determination of the strategy's cost table; None if it has none.
        """
        rows = list(history)
        kept: Downsampled[Mapping[str, Any]] = Downsampled(MOST_STEPS)
        for row in [row for row in rows if "probabilities" in row] or rows:
            kept.add(row)
        self.write(oneshot=one_shot_view(kept.entries).model_copy(update={"cost_r2": cost_r2}))

    def epochs(self, rows: Iterable[EpochRow]) -> None:
        """Writes the scores of all epochs of a fine-tuning."""
        self.write(epochs=list(rows))

    def draw_plots(self) -> list[Path]:
        """Draws the plots of the job into the run folder and returns their files; without `draw`, an empty list.

        Errors of `draw` are passed on.
        """
        limits = {} if self._search is None else self._search.limits
        files = [] if self._draw is None else self._draw(self.status, limits, self._run.path / "plots")
        self.write(plots=self._run.plots())
        return files

    def _end_phase(self) -> None:
        if self._in_a_phase and self.status.phase is not None:
            self.took(self.status.phase, time.monotonic() - self._phase_began)

    def _set_time(self, part: TimedPart, **changes: float) -> None:
        times = {time.part: time for time in self.status.times}
        times[part] = times.get(part, PartTime(part=part)).model_copy(update=changes)
        self.status = self.status.model_copy(update={"times": list(times.values())})

    def _end(self, state: str, error: str | None) -> None:
        self._end_phase()
        try:
            self.write(state=state, message=state, error=error, eta_seconds=None)
        except StorageError as fault:
            # The reason has its place; `hubserve.jobs.read` makes the state of it.
            self._run.write_reason(error or str(fault))
            if state == "done":
                raise

    def write(self, *, throttled: bool = False, **changes: Any) -> None:
        """Changes fields of the status, writes it to status.json, and passes it to `on_status`.

        Args:
            throttled: If True, the file is written only if `due` is True.
            changes: Fields of `JobStatus` with their new values; `updated` and `seconds` are set in any case.

        Raises:
            StorageError: The disk is full or read-only, or this user may not write the file.
        """
        seconds = self._seconds_before + time.monotonic() - self._began
        self.status = self.status.model_copy(update={**changes, "updated": datetime.now(UTC), "seconds": seconds})
        if not throttled or self.due:
            self._run.write_status(self.status)
            self._written = time.monotonic()
        self._on_status(self.status)

    def _eta(self, ended: list[TrialRow]) -> float | None:
        """Returns the estimated seconds until the budget is used up, by the median duration of a trial; None if unknown."""
        durations = [row.seconds for row in ended if row.seconds is not None]
        if self._search is None or self._search.budget.trials is None or not durations:
            return None
        budget, workers = self._search.budget, self._search.executor.workers
        left = max(0, self._search.budget.trials - len(ended)) * statistics.median(durations) / workers
        return left if budget.seconds is None else max(0.0, min(left, budget.seconds - sum(durations) / workers))


def one_shot_view(steps: Iterable[Mapping[str, Any]]) -> OneShotView:
    """Returns the rows of a one-shot strategy's history (see `StatusWriter.step`) as one record.

    It has the probabilities of those choices of which every row has them.
    """
    rows = list(steps)
    labels: dict[str, LabelProbabilities] = {}
    for label in rows[-1].get("probabilities", {}) if rows else {}:
        found = [row.get("probabilities", {}).get(label) for row in rows]
        if all(found):
            names = list(found[-1])
            labels[label] = LabelProbabilities(candidates=names, probabilities=[[row[name] for name in names] for row in found])
    return OneShotView(steps=[int(row["step"]) for row in rows], loss=[row.get("train_loss") for row in rows], labels=labels)


def _row(trial: TrialRecord) -> TrialRow:
    return TrialRow(
        number=trial.number,
        values=dict(trial.scores),
        state=trial.state,
        seconds=trial.seconds,
        reason=trial.reason,
        earlier=trial.earlier,
    )


def _infeasible_text(rows: list[TrialRow], refusals: list[RefusalRow]) -> str:
    count = sum(row.state == "infeasible" for row in rows)
    by = ", ".join(f"{row.refused} by {row.constraint}" for row in refusals if row.refused)
    return f", {count} archs were refused: {by}" if count else ""
