"""`EvaluatorByArch`: an evaluator whose arguments depend on the arch, for searches of networks and of how to train them."""

from collections.abc import Callable, Sequence

from hubserve.errors import EvaluatorError
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Evaluator, Objective, Trial


class EvaluatorByArch(Evaluator):
    """An evaluator that makes another one for each arch, such as one with the learning rate that the arch has chosen.

    The space asks for such a value like for any other, with `pick("learning_rate", (0.1, 0.01))` in its `build`, and need not
    use the answer.

    >>> EvaluatorByArch(lambda arch: Classification(learning_rate=arch["learning_rate"], **data), Classification.objectives)

    Args:
        make: Function of an arch with an answer to each of its active choices that returns the evaluator of this arch. For
            trials in other processes it must be a function of a module.
        objectives: Scores that a search improves, the most important one first; those of the evaluators that `make` returns.

    Raises (when an arch is evaluated):
        ArchError: The arch does not belong to the space.
        EvaluatorError: `make` returns something that is no evaluator, or one with other objectives.
    """

    def __init__(self, make: Callable[[Arch], Evaluator], objectives: Sequence[Objective]) -> None:
        self.make = make
        self.objectives = tuple(objectives)

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        evaluator = self.make(space.canonical(arch))
        if not isinstance(evaluator, Evaluator):
            raise EvaluatorError(f"EvaluatorByArch: make returned a {type(evaluator).__name__}, which is no Evaluator")
        if tuple(evaluator.objectives) != self.objectives:
            raise EvaluatorError(
                f"EvaluatorByArch: objectives = {self.objectives}, and the evaluator of this arch has {evaluator.objectives}"
            )
        return evaluator.evaluate(space, arch, trial)
