"""`BlendedSupernet`, a supernet that computes all candidates at once, weighted by learned probabilities."""

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
    """A supernet that computes all candidates of a choice at once and weights each by its learned probability.

    A choice is blended in one of these ways:
    - the outputs of a layer choice's candidates, and of layers on several inputs, are summed by weight (Liu et al. 2019,
      "DARTS", https://arxiv.org/abs/1806.09055, equation 2);
    - a repeat returns the weighted sum of the outputs at each candidate depth;
    - for numbers such as widths and kernel sizes, the largest network runs on tensors that are multiplied by the expected mask,
      which says how much of each channel and of each position of a kernel is kept (Wan et al. 2020, "FBNetV2",
      https://arxiv.org/abs/2004.05565, masks the outputs of layers instead). With all weight on one candidate the output is
      exactly that of the smaller network;
    - a layer that some candidates leave out is summed with its input: w * output + (1 - w) * input.

    Choices that cannot be blended are sampled: the answer is drawn from the probabilities before each pass, and the logits
    learn by the score function (`ArchDistribution.log_probability`). These are answers with which the builder itself computes
    (the number of cells, the edges of NasBench101's graph), and those for which the masked network is not exactly the smaller
    one; `prove` finds the latter by running both. docs/supernets.md explains blends, masks and the plan with drawings.

    Args:
        space: Any model space.
        seed: Seed of the initial weights and logits.
        cache: Number of blended networks, and of subnets, at least 1, that are kept for reuse (the most recently used ones).
            They hold modules but no weights of their own.

    Attributes:
        supernet: The shared weights, which also makes subnets and extracts networks. Move this alone to a GPU.
        archs: The learned distribution over archs; it stays on the CPU.
        plan: Says which choices are blended, and how.
        blended: Labels with more than one answer that are blended.
        sampled: Labels with more than one answer that are sampled.

    Shapes:
        forward: Inputs and outputs have the shapes of those of the networks of the space.

    Raises:
        SupernetError: Tensors with different numbers of axes have the same key.
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
        """Returns a blend for each blended label: all candidates are computed, and their weights are their probabilities."""
        return {label: Blend.all_of(p) for label, p in self.archs.probabilities(self.blended).items()}

    def forward(
        self,
        x: Any,
        blends: Mapping[str, Blend] | None = None,
        sampled: Mapping[str, Any] | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> Any:
        """Runs the blended network on a batch and returns its output.

        Args:
            x: A batch of inputs in the format that the networks of the space accept.
            blends: Maps the label of each blended choice to its blend; None uses `self.blends()`.
            sampled: Maps the label of each sampled choice to its answer; None uses the most likely answers.
            weights: Maps the key of each leaf of `network(sampled)` to the tensor to use in its place; None uses the leaves.

        Raises:
            SupernetError: Outputs that are summed have different shapes.
        """
        return self.network(sampled, x).run(x, self.blends() if blends is None else blends, weights)

    def network(self, sampled: Mapping[str, Any] | None = None, x: Any = None) -> BlendedNetwork:
        """Returns the blended network for the given answers to the sampled labels.

        Its `subnet.leaves` are the parameters to pass to an optimizer.

        Args:
            sampled: Maps the label of each sampled choice to its answer; None uses the most likely answers.
            x: A batch on which the first call with a batch runs `prove`; None does not run it.
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
        """Checks on a batch `x` which choices can be blended, and updates `plan`, `blended` and `sampled`.

        Compares the outputs of blended networks with those of single ones; labels for which they differ are sampled afterwards.
        """
        self._proven = True
        mode = self.training
        self.eval()
        self._set_plan(prove(self.plan, self._builder, self.space, x))
        self.train(mode)

    def sample(self, rng: Random) -> Arch:
        """Returns random answers to the sampled labels that the space's check accepts, drawn from the learned probabilities.

        Raises:
            SupernetError: The check refused `MAX_DRAWS` draws.
        """
        drawn = self.archs.draw(self.sampled, rng)
        return {label: drawn[label] for label in self.sampled}

    def activation_bytes(self, x: Any, held: int | None = None) -> int:
        """Returns the number of bytes that autograd keeps for the backward pass on a batch like `x`.

        Weights multiplied by masks are counted as well. The pass runs on the meta device, so it takes no memory.

        Args:
            x: A batch of inputs; only the shapes and dtypes of its tensors are used.
            held: Number of candidates of each choice that are computed; None computes all of them.
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
