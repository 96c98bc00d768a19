"""`ZeroCostMeasure`, which scores archs and remembers their scores, and `draw_batch`, which draws its batch."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from hubserve.benchmarks.zero_cost.score_functions import check_score_names, zero_cost_scores
from hubserve.data.labelled_data import LabelledData
from hubserve.data.loaders import Batch, Data, shuffled
from hubserve.errors import EvaluatorError
from hubserve.space import ModelSpace
from hubserve.training.device import device_kind
from hubserve.training.seeding import seeded

ArchScores = Callable[[Mapping[str, Any]], dict[str, float]]
"""Function that returns the scores of an arch by name, always the same names in the same order."""


class ZeroCostMeasure:
    """Computes zero-cost scores of archs, each arch once.

    The networks of all archs are initialised with the same seed and scored by the same batch, so that an arch has the same
    scores in every trial and run.

    It is a measure of an experiment, `measures={"naswot": measure}`, by which constraints and objectives may be named; and
    `features` makes of it a function from archs to scores for a strategy that learns from features of archs.

    Args:
        batch: Images (batch, channels, height, width), at least two, and class indices (batch,); see `draw_batch`. It is only
            checked by a call, by the scores that use it.
        names: Names of the scores, keys of `SCORES`; at least one.
        seed: Seed of the initial weights, and of what else is drawn.
        accelerator: "auto" computes on a GPU if there is one, "cpu" never, and "gpu" or "cuda" always.
            Scores on different kinds of devices differ by rounding.

    Raises:
        EvaluatorError: No name is given, a name is unknown, or `accelerator` has another value or asks for a GPU
            and there is none.

    >>> measure = ZeroCostMeasure(draw_batch(data), ["naswot", "params"])
    >>> measure(space, arch)
    {'naswot': 1654.2, 'params': 802426.0}
    >>> scores = measure.features(space)
    >>> scores(arch)
    {'naswot': 1654.2, 'params': 802426.0}
    """

    def __init__(self, batch: Batch, names: Sequence[str] = ("naswot",), *, seed: int = 0, accelerator: str = "auto") -> None:
        self.names = check_score_names(names)
        self.seed = seed
        self._batch = batch
        self._device = torch.device(device_kind(accelerator))
        self._known: dict[tuple[type[ModelSpace], str, str], dict[str, float]] = {}

    def __call__(self, space: ModelSpace, arch: Mapping[str, Any]) -> dict[str, float]:
        """Returns the scores of an arch by name, in the order of `names`.

        Raises:
            ArchError: The arch does not belong to the space.
            UndefinedScoreError: A score is not defined for the network of the arch.
            EvaluatorError: The batch is not valid, the network returns no logits, or a value in it overflows.
        """
        canonical = space.canonical(arch)
        # Not the space itself: a setting such as a dict cannot be hashed.
        key = (type(space), repr(space), repr(canonical))
        if key not in self._known:
            with seeded(self.seed):
                network = space.freeze(canonical)
            self._known[key] = zero_cost_scores(network.to(self._device), self._batch, self.names, seed=self.seed)
        return dict(self._known[key])

    def features(self, space: ModelSpace) -> ArchScores:
        """Returns a function that takes an arch of `space` and returns its scores; it raises the errors of a call."""
        return partial(self, space)


def draw_batch(data: LabelledData | Data, images: int = 64, *, seed: int = 0) -> Batch:
    """Returns a batch of random training images and their targets, drawn with `seed`.

    Args:
        data: The data, of which the training part is used; or a torch data set, or a DataLoader or other iterable of batches,
            of whose first batch at most `images` are taken.
        images: Number of images, at least 2; a smaller data set gives all of its images.
        seed: Seed of the draw, and of random augmentation by torch.

    Raises:
        EvaluatorError: `images` is below 2, or `data` has none of these types or no images.
    """
    if images < 2:
        raise EvaluatorError(f"images = {images} must be at least 2: zero-cost scores compare images of one batch")
    found = data.train if isinstance(data, LabelledData) else data
    loader = shuffled(found, images, seed)
    with seeded(seed):
        batch = next(iter(loader), None)
    if batch is None:
        raise EvaluatorError(f"{type(found).__name__} has no images, of which zero-cost scores need at least two")
    return batch[0][:images], batch[1][:images]
