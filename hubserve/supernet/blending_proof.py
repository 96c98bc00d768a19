"""Proves by running blended networks beside single ones which choices can be blended."""

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hubserve.errors import SupernetError
from hubserve.space import Arch, ModelSpace
from hubserve.supernet.blend import Blend
from hubserve.supernet.blended_network import BlendedNetworkBuilder
from hubserve.supernet.blending_plan import BlendingPlan

N_TRIALS = 3
"""Archs on which networks are compared."""

TOLERANCE = 0.01
"""Largest difference that counts as none, as a share of the largest output: small batches amplify rounding."""


def prove(plan: BlendingPlan, builder: BlendedNetworkBuilder, space: ModelSpace, x: Any) -> BlendingPlan:
    """The plan without the choices whose blend is not exact.

    With all weight on one candidate, the output must be that of the single network with that candidate. Runs both on `x` for a
    few archs, first with as few masks as may be enough, then with all. Choices for which they still differ, and repeats whose
    depths give different shapes, are sampled in the plan returned. Batch norms use the batch, and their running statistics
    stay as they are.

    Args:
        plan: The plan for the space.
        builder: Builds the networks, on a supernet in evaluation mode.
        space: The space.
        x: A batch, of which the first 4 inputs are used where it is a tensor.
    """
    return _Proof(builder, space, x[:4] if isinstance(x, torch.Tensor) else x).of(plan)


class _Proof:
    """Runs the networks of a proof on one batch `x`."""

    def __init__(self, builder: BlendedNetworkBuilder, space: ModelSpace, x: Any) -> None:
        self._builder = builder
        self._space = space
        self._x = x

    @torch.no_grad()
    def of(self, plan: BlendingPlan) -> BlendingPlan:
        """The plan in which every choice whose blend was found inexact is sampled."""
        rng = Random(0)
        trials = [self._trial(plan, rng, smallest=i == 0) for i in range(N_TRIALS)]
        plan = plan.without([label for label in self._learned(plan.repeats) if not self._depths_add_up(plan, label, trials[0])])
        # Without uncertain labels nothing is left to sample, whatever the outputs are: some are not finite.
        while plan.uncertain and not all(self._agrees(plan, trial) for trial in trials):
            more_masks = not plan.masks_everywhere
            plan = replace(plan, masks_everywhere=True) if more_masks else plan.without(self._culprits(plan, trials))
        return plan

    def _learned(self, labels: Iterable[str]) -> list[str]:
        """Those of `labels` that have more than one answer, sorted."""
        return sorted(label for label in labels if self._space.choices[label].size > 1)

    def _trial(self, plan: BlendingPlan, rng: Random, *, smallest: bool) -> Arch:
        """Random answers to all labels; with `smallest`, numbers that are blended at their smallest."""
        choices = self._space.choices
        answers = {label: choice.random(rng) for label, choice in choices.items()} | self._space.random(rng)
        if not smallest:
            return answers
        numbers = [label for label in plan.values | plan.repeats if choices[label].is_numeric]
        return {**answers, **{label: min(choices[label].candidates) for label in numbers}}

    def _depths_add_up(self, plan: BlendingPlan, label: str, answers: Arch) -> bool:
        """Whether the outputs of the repeat `label` have the same shape at every candidate depth, so that they can be added."""
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
        """Whether the blended network, with all weight on `answers`, gives the output of the single network of `answers`.

        Layer choices and edges are not blended here: both networks are built with the layers that `answers` name.
        """
        try:
            largest = {**answers, **{label: plan.base[label] for label in plan.uncertain}}
            network = self._builder.build(plan, largest, layers=False)
            _use_batch_statistics(network.subnet.network)
            blended = network.run(self._x, self._blends(plan, answers))
        except SupernetError:
            return False
        single = self._builder.single(answers)
        _use_batch_statistics(single)
        return _close(blended, single(self._x))

    def _blends(self, plan: BlendingPlan, answers: Arch) -> dict[str, Blend]:
        choices = self._space.choices
        return {label: Blend.only(choices[label], answers[label]) for label in self._learned(plan.uncertain)}

    def _culprits(self, plan: BlendingPlan, trials: list[Arch]) -> frozenset[str]:
        """Labels whose blend is inexact even with all others at their largest; all uncertain labels if there is none."""
        found = set()
        for label in sorted(plan.uncertain):
            others = {other: plan.base[other] for other in plan.uncertain if other != label}
            if not all(self._agrees(plan, {**trial, **others}) for trial in trials):
                found.add(label)
        return frozenset(found) or plan.uncertain


def _use_batch_statistics(network: nn.Module) -> None:
    """Sets `network` to eval mode, except its batch norms, which normalise with the statistics of the batch.

    With statistics of an untrained supernet, the output of a deep network may not depend on its input.
    """
    for module in network.eval().modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.momentum = 0.0


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and bool((a - b).abs().max() <= TOLERANCE * b.abs().max())
    return all(_close(x, y) for x, y in zip(a, b, strict=True))
