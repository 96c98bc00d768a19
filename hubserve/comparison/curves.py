"""Curves of a search over its trials: regret of the judging score, and the share of the hypervolume that was found."""

import numpy as np

from hubserve.comparison.benchmark_table import BenchmarkTable, Floats
from hubserve.comparison.search_cell import SearchCell
from hubserve.strategy.optuna_internals import hypervolume

Reference = tuple[float, float]
"""A driving score and a cost: what is worse than either of them does not count for the hypervolume."""


def judged_curve(table: BenchmarkTable, cell: SearchCell, trials: int) -> Floats:
    """Returns the judging score of the arch that is best by the driving score after 1, 2, ... trials, shape (trials,).

    Of archs with the same driving score, the first one counts. Before a valid arch was found, the score is the worst one of the
    table. If the search ended early, its last value goes on.
    """
    drive, sign = table.drive[table.run_of(cell.seed)], table.sign
    best, judged = -np.inf, table.worst_judge
    curve = np.empty(trials)
    for i in range(trials):
        row = cell.rows[i] if i < len(cell.rows) else -1
        if row >= 0 and sign * drive[row] > best:
            best, judged = sign * drive[row], float(table.judge[row])
        curve[i] = judged
    return curve


def regret_curve(table: BenchmarkTable, cell: SearchCell, trials: int) -> Floats:
    """Returns by how much `judged_curve` is worse than the best judging score of the table, shape (trials,); never below 0."""
    return np.maximum(0.0, table.sign * (table.best_judge - judged_curve(table, cell, trials)))


def worst_reference(table: BenchmarkTable) -> Reference:
    """Returns the worst driving score and the highest cost of the table. It must have a cost."""
    assert table.cost is not None
    return float(table.sign * (table.sign * table.drive).min()), float(table.cost.max())


def true_hypervolumes(table: BenchmarkTable, reference: Reference) -> list[float]:
    """Returns the hypervolume of driving score and cost, up to `reference`, of all archs of the table, for each of its runs."""
    return [hypervolume(_losses(table, run), _corner(table, reference)) for run in range(len(table.drive))]


def hypervolume_curve(table: BenchmarkTable, cell: SearchCell, trials: int, reference: Reference, true: list[float]) -> Floats:
    """Returns the hypervolume of driving score and cost after 1, 2, ... trials, as a share of that of all archs of the table.

    Args:
        table: The table.
        cell: The search. If it ended early, its last value goes on.
        trials: Number of values.
        reference: Reference point; archs that are worse in score or cost do not count.
        true: The result of `true_hypervolumes` for the same reference point, none of them 0.
    """
    run = table.run_of(cell.seed)
    losses, corner = _losses(table, run), _corner(table, reference)
    curve, share, found = np.zeros(trials), 0.0, losses[:0]
    for i in range(trials):
        row = cell.rows[i] if i < len(cell.rows) else -1
        if row >= 0 and not np.any(np.all(found <= losses[row], axis=1)):
            found = np.vstack([found[~np.all(losses[row] <= found, axis=1)], losses[row]])
            share = hypervolume(found, corner) / true[run]
        curve[i] = share
    return curve


def _corner(table: BenchmarkTable, reference: Reference) -> Reference:
    return -table.sign * reference[0], reference[1]


def _losses(table: BenchmarkTable, run: int) -> Floats:
    """Returns the driving score, with the sign for which lower is better, and the cost of each row; shape (rows, 2)."""
    assert table.cost is not None
    return np.stack([-table.sign * table.drive[run], table.cost], axis=1)
