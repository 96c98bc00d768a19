"""`quantile_constraint`, which bounds a measure by a quantile of its values for random archs of a space."""

from random import Random

import numpy as np

from hubserve.errors import ExperimentError
from hubserve.experiment.constraints import Constraint, Measure, Relation
from hubserve.similar_names import suggest
from hubserve.space import ModelSpace


def quantile_constraint(
    space: ModelSpace,
    measure: Measure,
    name: str,
    *,
    quantile: float = 0.5,
    archs: int = 100,
    seed: int = 0,
    relation: Relation = ">=",
) -> Constraint:
    """Returns a constraint on a measure, whose bound is a quantile of the measure's values for random archs of the space.

    With a zero-cost score, it makes an experiment refuse archs before they are trained. The reason in the record of such a
    trial says the score, the bound, and by how much it is missed.

    Args:
        space: The space of which archs are drawn.
        measure: Function of a space and an arch that returns measures by name, such as a
            `hubserve.benchmarks.zero_cost.ZeroCostMeasure`; it is called for each drawn arch.
        name: Name of the measure that is bounded; the experiment needs `measure` under this name in its `measures`.
        quantile: Share, in (0, 1), of the drawn archs that are below the bound.
        archs: Number of archs that are drawn, at least 2.
        seed: Seed of the draw.
        relation: ">=" refuses archs below the quantile, "<=" refuses archs above it.

    Raises:
        ExperimentError: `quantile` or `archs` is out of its range, `relation` has another value, or `measure` does not return
            `name`, or returns NaN for it.
        EvaluatorError: A zero-cost score is not defined for the space. Other errors of `measure` are passed on, too.

    >>> measure = ZeroCostMeasure(draw_batch(data))
    >>> constraint = quantile_constraint(space, measure, "naswot", quantile=0.5)
    >>> NasExperiment(space, evaluator, strategy, constraints=[constraint], measures={"naswot": measure}, max_trials=20)
    """
    if not 0 < quantile < 1:
        raise ExperimentError(f"quantile = {quantile} must lie between 0 and 1; 0.5 refuses about half of all archs")
    if archs < 2:
        raise ExperimentError(f"archs = {archs} must be at least 2: a quantile of them is the bound")
    rng = Random(seed)
    values = []
    for _ in range(archs):
        found = measure(space, space.random(rng))
        if name not in found:
            raise ExperimentError(f"the measure returns no {name!r}. {suggest(name, found)}")
        values.append(found[name])
    return Constraint(name, relation, float(np.quantile(values, quantile)))
