"""Finds the Pareto front of a search in its first objective and one cost, and the trials that represent it best."""

from collections.abc import Mapping, Sequence

from hubserve.jobs import JobStatus, ObjectiveInfo

COSTS = ("latency_ms", "macs", "params")
"""The costs of a search in the order in which one is taken if the search has one objective."""


def cost_of(status: JobStatus) -> ObjectiveInfo | None:
    """Returns the cost on the other axis of the Pareto plot; None if there is none.

    It is the second objective of the search, or else the first of `COSTS` that was measured of a complete trial.
    """
    if len(status.objectives) > 1:
        return status.objectives[1]
    measured = {name for row in status.history if row.state == "complete" for name in row.values}
    costs = [name for name in COSTS if name in measured]
    return ObjectiveInfo(name=costs[0], direction="minimize") if costs else None


def front_of(place: Mapping[int, tuple[float, float]], cost: ObjectiveInfo, objective: ObjectiveInfo) -> list[int]:
    """Returns the numbers of the trials on the Pareto front, the best cost first; of equal trials only the first one.

    Args:
        place: (cost, objective) of each trial by its number.
        cost: The cost, for its direction.
        objective: The objective, for its direction.
    """
    sign = (1 if cost.direction == "minimize" else -1, -1 if objective.direction == "maximize" else 1)
    front: list[int] = []
    for number in sorted(place, key=lambda n: (sign[0] * place[n][0], sign[1] * place[n][1], n)):
        if not front or sign[1] * place[number][1] < sign[1] * place[front[-1]][1]:
            front.append(number)
    return front


def front_rows(status: JobStatus) -> list[dict[str, float]]:
    """Returns a row for each trial on the Pareto front, the best cost first; an empty list without a cost.

    A row has the number of the trial as "trial", and the first objective and the cost by their names.
    """
    cost = cost_of(status)
    if cost is None or not status.objectives:
        return []
    objective = status.objectives[0]
    place = {
        row.number: (row.values[cost.name], row.values[objective.name])
        for row in status.history
        if row.state == "complete" and cost.name in row.values and objective.name in row.values
    }
    numbers = front_of(place, cost, objective)
    return [{"trial": number, objective.name: place[number][1], cost.name: place[number][0]} for number in numbers]


def most_different(chosen: Sequence[int], place: Mapping[int, tuple[float, float]]) -> int | None:
    """Returns the trial on a front that, together with those chosen before, dominates the largest area; None if none is left.

    The area is bounded by the largest cost and the smallest score on the front (greedy selection by hypervolume, Guerreiro,
    Fonseca and Paquete 2016), so the cheapest trial, whose score may be useless, comes last.

    Args:
        chosen: Numbers of the trials that are chosen already.
        place: (cost, score) of each trial on the front by its number, at least one and those in `chosen` included; a smaller
            cost and a larger score are better.
    """
    left = [number for number in place if number not in chosen]
    most, least = max(cost for cost, _ in place.values()), min(score for _, score in place.values())

    def area(numbers: Sequence[int]) -> float:
        total, height = 0.0, least
        for cost, score in sorted(place[number] for number in numbers):
            if score > height:
                total += (most - cost) * (score - height)
                height = score
        return total

    return max(left, key=lambda number: (area([*chosen, number]), place[number][1], -number), default=None)
