"""`prove`, which checks by running blended networks and single networks which choices can be blended exactly."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hubserve.data.nested_batches import map_leaves
from hubserve.errors import SupernetError
from hubserve.space import Arch, ModelSpace
from hubserve.supernet.blend import Blend
from hubserve.supernet.blended_network import BlendedNetworkBuilder
from hubserve.supernet.blending_plan import BlendingPlan
from hubserve.supernet.weighted_sums import close

N_TRIALS = 3
"""Number of archs on which the blended and the single network are compared."""

TOLERANCE = 0.01
"""Largest difference of two outputs that are considered equal, as a fraction of the largest output."""

DOUBTFUL = 0.1
"""Largest difference that may be of rounding: batch norms of deep networks multiply it. Above, a blend is inexact for sure."""


def prove(plan: BlendingPlan, builder: BlendedNetworkBuilder, space: ModelSpace, x: Any) -> BlendingPlan:
    """Returns `plan` with the choices removed whose blend is not exact; these are sampled instead.

    A blend is exact if, with all weight on one candidate, the output is that of the single network with that candidate. Both
    networks are run on `x` for `N_TRIALS` archs, first with masks on the outputs of layers only, then with masks on all axes.
    Where the outputs differ so little that it may be rounding, both run again in double precision, on a copy of the supernet.
    Choices for which the outputs still differ, and repeats whose depths give different shapes, are removed. Batch norms
    normalise with the statistics of the batch; their running statistics stay unchanged.

    Args:
        plan: The plan to check.
        builder: Builds the networks; its supernet must be in eval mode.
        space: The space of the supernet.
        x: A batch; only its first 4 inputs are used if it is a tensor.
    """
    return _Proof(builder, space, x[:4] if isinstance(x, torch.Tensor) else x).of(plan)


class _Proof:
    """Compares blended networks with single networks on one batch `x`."""

    def __init__(self, builder: BlendedNetworkBuilder, space: ModelSpace, x: Any) -> None:
        self._builder = builder
        self._space = space
        self._x = x

    @torch.no_grad()
    def of(self, plan: BlendingPlan) -> BlendingPlan:
        """Returns `plan` without the choices whose blend was found to be inexact."""
        rng = Random(0)
        trials = [self._trial(plan, rng, smallest=i == 0) for i in range(N_TRIALS)]
        plan = plan.without([label for label in self._learned(plan.repeats) if not self._depths_add_up(plan, label, trials[0])])
        # Without uncertain labels nothing is left to sample, whatever the outputs are: some are not finite.
        while plan.uncertain and not all(self._agrees(plan, trial) for trial in trials):
            more_masks = not plan.masks_everywhere
            plan = replace(plan, masks_everywhere=True) if more_masks else plan.without(self._culprits(plan, trials))
        return plan

    def _learned(self, labels: Iterable[str]) -> list[str]:
        """Returns those of `labels` whose choice has more than one answer, sorted."""
        return sorted(label for label in labels if self._space.choices[label].size > 1)

    def _trial(self, plan: BlendingPlan, rng: Random, *, smallest: bool) -> Arch:
        """Returns random answers to all labels; with `smallest`, blended numbers and depths get their smallest value."""
        choices = self._space.choices
        answers = {label: choice.random(rng) for label, choice in choices.items()} | self._space.random(rng)
        if not smallest:
            return answers
        numbers = [label for label in plan.values | plan.repeats if choices[label].is_numeric]
        return {**answers, **{label: min(choices[label].candidates) for label in numbers}}

    def _depths_add_up(self, plan: BlendingPlan, label: str, answers: Arch) -> bool:
        """Returns whether the outputs of the repeat `label` have the same shape at every candidate depth and can be added."""
        blends = self._blends(plan, answers)
        n = self._space.choices[label].size
        blends[label] = Blend.all_of(torch.full((n,), 1 / n))
        try:
            largest = {**answers, **{other: plan.base[other] for other in blends}}
            self._builder.build(plan, largest, layers=False).run(self._x, blends)
        except SupernetError:
            return False
        return True

    def _agrees(self, plan: BlendingPlan, answers: Arch) -> bool:
        """Returns whether the blended network with all weight on `answers` gives the output of the single network of `answers`.

        A difference that may be of rounding is computed again in double precision.
        """
        outputs = self._outputs(plan, answers, self._builder, self._x)
        if outputs is None or not close(*outputs, DOUBTFUL):
            return False
        if close(*outputs, TOLERANCE):
            return True
        exact = self._outputs(plan, answers, self._exact_builder, map_leaves(_doubled, self._x))
        return exact is not None and close(*exact, TOLERANCE)

    def _outputs(self, plan: BlendingPlan, answers: Arch, builder: BlendedNetworkBuilder, x: Any) -> tuple[Any, Any] | None:
        """Returns the outputs for `x` of the blended and of the single network; None if the blended one cannot be computed.

        Layer choices and edges are not blended here: both networks are built with the layers that `answers` choose.
        """
        try:
            largest = {**answers, **{label: plan.base[label] for label in plan.uncertain}}
            network = builder.build(plan, largest, layers=False)
            _use_batch_statistics(network.subnet.network)
            blended = network.run(x, self._blends(plan, answers))
        except SupernetError:
            return None
        single = builder.single(answers)
        _use_batch_statistics(single)
        return blended, single(x)

    @cached_property
    def _exact_builder(self) -> BlendedNetworkBuilder:
        return self._builder.in_double_precision()

    def _blends(self, plan: BlendingPlan, answers: Arch) -> dict[str, Blend]:
        choices = self._space.choices
        return {label: Blend.only(choices[label], answers[label]) for label in self._learned(plan.uncertain)}

    def _culprits(self, plan: BlendingPlan, trials: list[Arch]) -> frozenset[str]:
        """Returns the uncertain labels whose blend is inexact even when all other uncertain labels have their largest answer.

        Returns all uncertain labels if there is no such label.
        """
        found = set()
        for label in sorted(plan.uncertain):
            others = {other: plan.base[other] for other in plan.uncertain if other != label}
            if not all(self._agrees(plan, {**trial, **others}) for trial in trials):
                found.add(label)
        return frozenset(found) or plan.uncertain


def _doubled(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf


def _use_batch_statistics(network: nn.Module) -> None:
    """Sets `network` to eval mode, except its batch norms, which normalise with the statistics of the batch.

    With the running statistics of an untrained supernet, the output of a deep network may hardly depend on its input.
    """
    for module in network.eval().modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.momentum = 0.0
