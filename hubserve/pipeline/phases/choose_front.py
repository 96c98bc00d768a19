"""Phase "front": chooses further members of the Pareto front, which are published beside the winner."""

from hubserve.evaluator import Objective
from hubserve.experiment import NasExperiment, TrialRecord
from hubserve.jobs import ObjectiveInfo, Run
from hubserve.latency.arch_latency import NAME
from hubserve.pipeline.front import front_of, most_different
from hubserve.pipeline.phases.choose_winner import Winner, measure_again, winner_of
from hubserve.pipeline.phases.search import make_experiment
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.saved_phases import load_or_compute

CHOSEN = "front.json"


def choose_front(resolved: ResolvedSearch, winner: Winner, cost: ObjectiveInfo, run: Run) -> list[Winner]:
    """Returns up to `publish.front` - 1 members of the Pareto front besides the winner, the cheapest first.

    They are saved in front.json. Those are chosen that describe the front best, see `most_different`. If latency is
    constrained, each is measured again, and those that miss the limit then are left out. Trials with the arch of the winner or
    with a better score are left out; so are those whose weights were not kept, unless `retrain` starts with new weights.

    Args:
        resolved: The job.
        winner: The winner of the search.
        cost: The cost that the front has besides the first objective.
        run: The run, whose study has the trials.
    """

    def choose() -> list[dict[str, object]]:
        members = _choose(make_experiment(resolved, run, lambda _: None), resolved, winner, cost)
        return [member.model_dump(mode="json") for member in members]

    return [Winner.model_validate(member) for member in load_or_compute(run.path / CHOSEN, choose)]


def _choose(experiment: NasExperiment, resolved: ResolvedSearch, winner: Winner, cost: ObjectiveInfo) -> list[Winner]:
    publish, goal = resolved.job.publish, resolved.objectives[0]
    trials = {trial.number: trial for trial in experiment.export_data() if cost.name in trial.scores}
    # From here on a smaller cost and a larger score are better.
    signs = -_sign(cost), _sign(goal)
    place = {
        number: (signs[0] * trial.scores[cost.name], signs[1] * trial.scores[goal.name]) for number, trial in trials.items()
    }
    smaller, larger = ObjectiveInfo(name=cost.name, direction="minimize"), ObjectiveInfo(name=goal.name, direction="maximize")
    numbers = front_of(place, smaller, larger)
    front = {number: place[number] for number in numbers}
    if winner.number is not None and winner.number in place:
        front[winner.number] = place[winner.number]
    left = {number: found for number, found in front.items() if _may_follow(trials[number], winner, resolved, goal)}
    chosen: list[Winner] = []
    while left and publish is not None and len(chosen) < publish.front - 1:
        before = [each.number for each in (winner, *chosen) if each.number is not None]
        number = most_different([n for n in before if n in front], {n: front[n] for n in (*before, *left) if n in front})
        if number is None or number not in left:
            break
        del left[number]
        member = _member(experiment, resolved, trials[number])
        if member is not None:
            chosen.append(member)
    return sorted(chosen, key=lambda member: signs[0] * member.scores[cost.name])


def _may_follow(trial: TrialRecord, winner: Winner, resolved: ResolvedSearch, goal: Objective) -> bool:
    """Returns whether a trial on the front has another arch than the winner, is not better than it, and can get weights."""
    retrain = resolved.job.retrain
    has_weights = (retrain is not None and retrain.start == "new") or winner_of(resolved, trial, {}).weights is not None
    # A trial with a better score was measured again when the winner was chosen, and missed the limit.
    return trial.arch != winner.arch and _sign(goal) * (trial.scores[goal.name] - winner.scores[goal.name]) <= 0 and has_weights


def _sign(goal: Objective | ObjectiveInfo) -> int:
    """Returns the number by which scores are multiplied so that a larger one is better."""
    return 1 if goal.direction == "maximize" else -1


def _member(experiment: NasExperiment, resolved: ResolvedSearch, trial: TrialRecord) -> Winner | None:
    """Returns the member of the front; None if it misses the latency limit when it is measured again."""
    limit = resolved.job.limits.get(NAME)
    if limit is None:
        return winner_of(resolved, trial, {})
    latency = measure_again(resolved, trial.arch)
    return winner_of(resolved, trial, {NAME: latency}) if latency <= limit else None
