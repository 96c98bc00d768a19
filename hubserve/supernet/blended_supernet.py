"""The blended supernet: all candidates take part at once, weighed by learned logits."""

import json
from collections.abc import Mapping
from random import Random
from typing import Any

import torch
from torch import nn

from hubserve.space import Arch, ModelSpace
from hubserve.supernet.arch_distribution import ArchDistribution
from hubserve.supernet.blend import Blend
from hubserve.supernet.blended_network import BlendedNetwork, BlendedNetworkBuilder
from hubserve.supernet.blending_plan import BlendingPlan, make_plan
from hubserve.supernet.blending_proof import prove
from hubserve.supernet.recently_used import RecentlyUsed
from hubserve.supernet.supernet import Supernet


class BlendedSupernet(nn.Module):
    """A supernet in which all candidates of a choice take part at once, each by its weight.

    The builder of the space runs with a picker that answers with all candidates:
    - the outputs of a layer choice's candidates, and of layers on several inputs, are summed by weight (Liu et al. 2019,
      "DARTS", https://arxiv.org/abs/1806.09055, equation 2);
    - a repeat returns the weighted sum of the outputs at each depth;
    - numbers such as widths and kernel sizes: the largest network runs on tensors multiplied by the expected mask, which says
      how much of each channel and of each place of a kernel is kept (Wan et al. 2020, "FBNetV2",
      https://arxiv.org/abs/2004.05565, masks the outputs of layers instead). With all weight on one candidate this is exactly
      the smaller network. A layer that some answers leave out is passed by with the rest of the weight.

    What cannot be blended is sampled: the answer is drawn from the probabilities before each pass, and the logits learn by the
    score function (`ArchDistribution.log_probability`). That holds for answers with which the builder itself computes (the
    number of cells, the edges of NasBench101's graph), and for those whose mask is not exactly the smaller network; `prove`
    finds these by running both. docs/supernets.md explains blends, masks and the plan with drawings.

    Args:
        space: Any model space.
        seed: Seed of the fresh weights and logits.
        cache: Number of blended networks kept ready, those used last, and of subnets; they hold modules and no weights.

    Attributes:
        supernet: The shared weights; it also makes subnets and extracts networks. It alone is moved to a GPU.
        archs: The learned distribution over archs; it stays on the CPU.
        plan: What is blended, and how.
        blended: Labels with more than one answer that are blended.
        sampled: Labels with more than one answer that are sampled.

    Shapes:
        forward: the inputs and outputs of the networks of the space.

    Raises:
        SupernetError: As for `Supernet`.
    """

    def __init__(self, space: ModelSpace, *, seed: int = 0, cache: int = 64) -> None:
        super().__init__()
        self.space = space
        self.supernet = Supernet(space, seed=seed, cache=cache)
        self.archs = ArchDistribution(space, seed=seed)
        self._networks: RecentlyUsed[BlendedNetwork] = RecentlyUsed(cache)
        self._version = self.supernet.version
        self._builder = BlendedNetworkBuilder(self.supernet)
        self._proven = False
        self._set_plan(make_plan(self._builder.shapes))

    def blends(self) -> dict[str, Blend]:
        """Label -> all candidates weighed by their probabilities, for the blended labels."""
        return {label: Blend.all_of(p) for label, p in self.archs.probabilities(self.blended).items()}

    def forward(
        self,
        x: Any,
        blends: Mapping[str, Blend] | None = None,
        sampled: Mapping[str, Any] | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> Any:
        """Runs the blended network.

        Args:
            x: A batch.
            blends: Blends of the blended labels; None weighs by the probabilities.
            sampled: Answers to the sampled labels; None takes the likeliest.
            weights: Key -> tensor to use in place of each leaf of `network(sampled)`; None uses the leaves.
        """
        return self.network(sampled, x).run(x, self.blends() if blends is None else blends, weights)

    def network(self, sampled: Mapping[str, Any] | None = None, x: Any = None) -> BlendedNetwork:
        """The blended network for these answers to the sampled labels.

        An optimizer moves the leaves of its subnet.

        Args:
            sampled: Answers to the sampled labels; None takes the likeliest.
            x: A batch with which the first call proves what can be blended; None proves nothing.
        """
        if not self._proven and x is not None:
            self.prove(x)
        answers = self._largest(sampled)
        if self._version != self.supernet.version:
            self._networks.clear()
            self._version = self.supernet.version
        key = json.dumps({label: answers[label] for label in sorted(self.sampled)})
        network = self._networks.get(key, lambda: self._builder.build(self.plan, answers))
        if network.subnet.network.training != self.training:
            network.subnet.network.train(self.training)
        return network

    def prove(self, x: Any) -> None:
        """Finds out on a batch `x` which choices can be blended.

        Runs blended networks beside single ones; labels for which they differ are sampled from then on.
        """
        self._proven = True
        mode = self.training
        self.eval()
        self._set_plan(prove(self.plan, self._builder, self.space, x))
        self.train(mode)

    def sample(self, rng: Random) -> Arch:
        """Random answers to the sampled labels that the space's check accepts.

        Raises:
            SupernetError: The check refused every draw.
        """
        drawn = self.archs.draw(self.sampled, rng)
        return {label: drawn[label] for label in self.sampled}

    def activation_bytes(self, x: torch.Tensor, held: int | None = None) -> int:
        """Bytes that a pass on batches like `x` keeps for its backward pass.

        Weights that masks have multiplied are counted, too.

        Args:
            x: A batch, of which only shape and dtype count: the pass runs on the meta device.
            held: Number of candidates of each choice that run; None runs all.
        """
        blends = {}
        for label in self.blended:
            n = len(self.archs.logits[label])
            blends[label] = Blend(torch.ones(n, device="meta", requires_grad=True), tuple(range(n))[: held or n])
        return self._builder.activation_bytes(self.plan, self._largest(None), x, blends)

    def _largest(self, sampled: Mapping[str, Any] | None) -> Arch:
        return {**self.plan.base, **(self.archs.likeliest(self.sampled) if sampled is None else sampled)}

    def _set_plan(self, plan: BlendingPlan) -> None:
        # Computed here and not when asked for: strategies ask label by label, in each step.
        self.plan = plan
        self.blended = plan.blended & self.archs.logits.keys()
        self.sampled = frozenset(self.archs.logits) - self.blended
