"""`ZeroCost`, the evaluator that scores archs by a zero-cost score instead of training them."""

from collections.abc import Sequence

from hubserve.benchmarks.zero_cost.scores_by_arch import ZeroCostMeasure, draw_batch
from hubserve.data.labelled_data import LabelledData
from hubserve.data.loaders import Data
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Evaluator, Objective, Trial


class ZeroCost(Evaluator):
    """An evaluator that scores archs by a zero-cost score of their untrained networks, by the same batch and seed for all.

    A search with it takes milliseconds to seconds a trial; its best arch must then be trained, as the key `retrain` of a job
    does. `docs/zero_cost.md` says which scores are worth it.

    Args:
        score: Name of the score that is maximized, a key of `hubserve.benchmarks.zero_cost.SCORES`.
        data: The data from whose training part the batch is drawn; or a torch data set or DataLoader.
        report: Names of further scores that are returned but not optimized.
        images: Number of images in the batch, at least 2.
        seed: Seed of the batch and of the initial weights; the seed of a trial is not used, so that an arch always has the same
            score.
        accelerator: "auto" computes on a GPU if there is one, "cpu" never, and "gpu" or "cuda" always.

    Raises:
        EvaluatorError: A name is unknown, `images` is below 2, `data` has another type or no images, or `accelerator` asks for
            a GPU and there is none.

    >>> evaluator = ZeroCost("naswot", data=load_dataset("digits", size=32), report=["params"])
    """

    def __init__(
        self,
        score: str = "naswot",
        *,
        data: LabelledData | Data,
        report: Sequence[str] = (),
        images: int = 64,
        seed: int = 0,
        accelerator: str = "auto",
    ) -> None:
        names = tuple(dict.fromkeys((score, *report)))
        self.measure = ZeroCostMeasure(draw_batch(data, images, seed=seed), names, seed=seed, accelerator=accelerator)
        self.objectives = (Objective(score),)

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        """Returns the score and the further ones by name.

        Raises:
            ArchError: The arch does not belong to the space.
            UndefinedScoreError: A score is not defined for the network of the arch; the message says which are.
            EvaluatorError: The data have fewer than two images, the network returns no logits, or a value in it overflows.
        """
        return self.measure(space, arch)
