"""Prints the status of one run of a job, for `hubserve search` and `hubserve jobs`."""

from collections.abc import Mapping
from typing import Any

from hubserve import jobs
from hubserve.cli.accuracy_tables import accuracy_text, print_accuracy
from hubserve.cli.output import print_facts, print_json, print_table
from hubserve.jobs import ComparedRow, JobStatus, JobSummary, Run
from hubserve.jobs.progress_text import duration_text, eta_text, value_text, values_text


def print_status(run: Run, as_json: bool) -> None:
    """Prints the status of a run: a JSON document, or tables of its facts, times, accuracy and what its constraints refused."""
    status = jobs.read(run)
    if as_json:
        print_json(status.model_dump(mode="json"))
        return
    best = status.best
    best_row = jobs.best_epoch(status.epochs) if status.epochs else None
    facts: dict[str, Any] = {
        "state": status.state,
        "phase": status.phase,
        "": status.message or None,
        "trials": None if best_row else f"{status.trials}{f' of {status.max_trials}' if status.max_trials else ''}",
        "best epoch": f"{best_row.epoch} of {status.epochs[-1].epoch}, val_acc {best_row.val_acc:.4f}" if best_row else None,
        "seconds": f"{status.seconds:.0f} {eta_text(status.eta_seconds)}".strip(),
        "best": values_text(best.values) if best else None,
        "arch": _arch_text(best.arch) if best else None,
        "test_acc": accuracy_text(status.accuracy) if status.accuracy else test_accuracy(status) or None,
        "test": values_text(status.test_scores) or None,
        "notes": "; ".join(status.notes) or None,
        "published": status.published,
        "error": status.error,
        "folder": run.path,
    }
    print_facts(status.id, facts)
    if status.refusals:
        _print_refusals(status)
    if status.compared:
        _print_compared(status)
    if status.estimated_seconds is not None:
        _print_times(status)
    if status.accuracy is not None:
        print_accuracy(status.accuracy)


def _print_refusals(status: JobStatus) -> None:
    """Prints what each constraint of a search refused and by how much, and the closest arch if no arch met them."""
    rows = [
        (row.constraint, row.refused, row.checked, *(_share(miss) for miss in (row.least, row.median, row.most)))
        for row in status.refusals
    ]
    print_table("Refused by the constraints", ("constraint", "refused", "of", "by at least", "median", "at most"), rows)
    if status.closest is not None:
        facts = {"": status.closest.reason, "arch": _arch_text(status.closest.arch)}
        print_facts(f"No arch meets them; the closest is that of trial {status.closest.number}", facts)


def _print_compared(status: JobStatus) -> None:
    """Prints accuracy, latency and size of the winner, the further members of the Pareto front and the baselines."""
    rows = [
        (
            row.name,
            {"winner": "chosen", "front": "Pareto front", "baseline": "made by hand"}[row.kind],
            *("" if value is None else value_text(name, value) for name, value in _figures(row)),
            status.published if row.kind == "winner" else row.published,
        )
        for row in status.compared
    ]
    columns = ("network", "", "val_acc", "test_acc", "ms (onnx)", "params", "macs", "published")
    print_table("What was found, beside networks made by hand", columns, rows)


def _figures(row: ComparedRow) -> list[tuple[str, float | None]]:
    names = ("val_acc", "test_acc", "latency_ms", "params", "macs")
    return [(name, getattr(row, name)) for name in names]


def _arch_text(arch: Mapping[str, Any]) -> str:
    return ", ".join(f"{label} = {value}" for label, value in arch.items())


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _print_times(status: JobStatus) -> None:
    """Prints the estimated and the measured durations of the parts of a job, and their sums."""
    rows = [(time.part, _duration(time.estimated), _duration(time.seconds)) for time in status.times]
    whole = ("in all", _duration(status.estimated_seconds), _duration(status.seconds))
    print_table("Time; features are part of fine-tune", ("", "estimated", "took"), [*rows, whole])


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else duration_text(seconds)


def test_accuracy(status: JobSummary) -> str:
    """Returns the accuracy on the test part as text; empty until it is measured."""
    return "" if status.test_acc is None else value_text("test_acc", status.test_acc)
