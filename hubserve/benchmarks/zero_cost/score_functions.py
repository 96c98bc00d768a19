"""`SCORES`, the zero-cost scores by name, and `zero_cost_scores`, which computes several for a network."""

from collections.abc import Iterable
from typing import Protocol

from torch import nn

from hubserve.benchmarks.zero_cost.jacov import jacov
from hubserve.benchmarks.zero_cost.naswot import naswot
from hubserve.benchmarks.zero_cost.snip import snip
from hubserve.benchmarks.zero_cost.synflow import synflow
from hubserve.benchmarks.zero_cost.zen import zen
from hubserve.complexity import complexity
from hubserve.data.loaders import Batch
from hubserve.errors import EvaluatorError, UndefinedScoreError
from hubserve.similar_names import suggest


class ZeroCostScore(Protocol):
    """A function that scores an untrained network by one batch, and does not change the network; larger is better."""

    def __call__(self, network: nn.Module, batch: Batch, *, seed: int = 0) -> float:
        """Returns the score.

        Args:
            network: The network.
            batch: Images (batch, channels, height, width) and class indices (batch,).
            seed: Seed of all random numbers that are drawn.

        Raises:
            UndefinedScoreError: The score is not defined for the network; the message says which scores are.
            EvaluatorError: The batch is not valid, the network returns no tensor, or a value in it overflows.
        """


def parameter_count(network: nn.Module, batch: Batch, *, seed: int = 0) -> float:
    """Returns the number of parameters, the baseline that a score must beat; the batch and the seed do not matter."""
    return float(sum(parameter.numel() for parameter in network.parameters()))


def mac_count(network: nn.Module, batch: Batch, *, seed: int = 0) -> float:
    """Returns the multiply-accumulates for one image of the batch (see `hubserve.complexity`); the seed does not matter."""
    return float(complexity(network, tuple(batch[0].shape[1:])).macs)


SCORES: dict[str, ZeroCostScore] = {
    "naswot": naswot,
    "jacov": jacov,
    "synflow": synflow,
    "snip": snip,
    "zen": zen,
    "params": parameter_count,
    "macs": mac_count,
}
"""The zero-cost scores by name. The larger each of them, the better the network is expected to become."""


def check_score_names(names: Iterable[str]) -> tuple[str, ...]:
    """Returns `names` as a tuple. Raises EvaluatorError if there is none, or one is not a key of `SCORES`."""
    found = tuple(names)
    if not found:
        raise EvaluatorError(f"no zero-cost score is named; name some of {', '.join(SCORES)}")
    for name in found:
        if name not in SCORES:
            raise EvaluatorError(f"there is no zero-cost score {name!r}. {suggest(name, SCORES)}")
    return found


def zero_cost_scores(
    network: nn.Module, batch: Batch, names: Iterable[str] = tuple(SCORES), *, seed: int = 0
) -> dict[str, float]:
    """Returns zero-cost scores of a network by name; the network is not changed.

    Args:
        network: An untrained network on any device.
        batch: Images (batch, channels, height, width), at least two, and class indices (batch,).
        names: Names of the scores, keys of `SCORES`; at least one.
        seed: Seed of all random numbers that are drawn.

    Raises:
        UndefinedScoreError: A score is not defined for the network; `defined_scores` returns those that are.
        EvaluatorError: No name is given, a name is unknown, the batch is not valid, the network returns no logits, or a value
            in it overflows.

    >>> zero_cost_scores(NasBench201().freeze(arch), (images, targets), ["naswot", "params"])
    {'naswot': 1654.2, 'params': 802426.0}
    """
    return {name: SCORES[name](network, batch, seed=seed) for name in check_score_names(names)}


def defined_scores(network: nn.Module, batch: Batch) -> tuple[str, ...]:
    """Returns the names of the scores that are defined for a network, in the order of `SCORES`; it computes each of them.

    Raises:
        EvaluatorError: The batch is not valid, the network returns no logits, or a value in it overflows.
    """
    found = []
    for name, score in SCORES.items():
        try:
            score(network, batch)
        except UndefinedScoreError:
            continue
        found.append(name)
    return tuple(found)
