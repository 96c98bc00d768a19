"""Continuous relaxations of choices: each converts one logit for each candidate to probabilities.

DARTS (Liu et al. 2019, https://arxiv.org/abs/1806.09055, section 2.2) relaxes a choice of one candidate by a softmax. A choice
of any subset of inputs has a sigmoid for each input instead.
"""

from collections.abc import Sequence

import torch
from torch.nn.functional import logsigmoid


class Softmax:
    """Relaxation of a choice of one candidate or of k inputs: the probabilities of the candidates add up to 1.

    The probability of k inputs is the product of their probabilities, as if each were drawn alone.
    """

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns the probability of each candidate: logits (candidates,) -> (candidates,)."""
        return logits.softmax(0)

    def certain(self, n_candidates: int, chosen: Sequence[int]) -> torch.Tensor:
        """Returns the probabilities (n_candidates,) of a certain answer: those of the k `chosen` are 1 / k, others 0."""
        return _indicator(n_candidates, chosen) / len(chosen)

    def log_probability(self, logits: torch.Tensor, chosen: Sequence[int]) -> torch.Tensor:
        """Returns the log probability of the answer with the candidates at the indices `chosen`, a scalar tensor.

        The logarithm is natural. Gradients flow back to `logits`.
        """
        return logits.log_softmax(0)[list(chosen)].sum()

    def draw_relaxed(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        """Returns random weights (candidates,) drawn from the Gumbel softmax; gradients flow back to `logits`.

        Jang et al. 2017, https://arxiv.org/abs/1611.01144.

        Args:
            logits: One logit for each candidate.
            temperature: Above 0; the lower it is, the nearer the weights are to 0 and 1.
        """
        return ((logits.log_softmax(0) - (-_uniform_like(logits).log()).log()) / temperature).softmax(0)

    def draw_gates(self, probabilities: torch.Tensor) -> tuple[list[int], list[int]]:
        """Draws two candidates by their probabilities, of which there must be at least two, then one of these two.

        Returns the sorted indices of the two, and a list with the index of the one.

        ProxylessNAS compares such a pair in each step (Cai et al. 2019, https://arxiv.org/abs/1812.00332, section 3.2).
        """
        # Where one probability is nearly 1, rounding must not leave a single candidate to draw.
        pair = torch.multinomial(probabilities.clamp(min=1e-12), 2)
        chosen = pair[torch.multinomial(probabilities[pair].clamp(min=1e-12), 1)]
        return sorted(pair.tolist()), chosen.tolist()

    def keep_total(self, logits: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Returns `logits` of some candidates plus a number, so that the probabilities of all other candidates do not change.

        Args:
            logits: New logits of these k candidates, shape (k,).
            before: Their logits before the change, shape (k,), in the same order.
        """
        return logits + (before.logsumexp(0) - logits.logsumexp(0))


class Sigmoid:
    """Relaxation of a choice of any subset of inputs: each input has its own probability of being in the subset.

    Methods without documentation here are documented in `Softmax`.
    """

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns the probability of each input, which need not add up to 1: logits (inputs,) -> (inputs,)."""
        return logits.sigmoid()

    def certain(self, n_candidates: int, chosen: Sequence[int]) -> torch.Tensor:
        """Returns the probabilities (n_candidates,) of a certain answer: those of the `chosen` inputs are 1, others 0."""
        return _indicator(n_candidates, chosen)

    def log_probability(self, logits: torch.Tensor, chosen: Sequence[int]) -> torch.Tensor:
        signs = 2 * _indicator(len(logits), chosen).to(logits) - 1
        return logsigmoid(signs * logits).sum()

    def draw_relaxed(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        uniform = _uniform_like(logits)
        return ((logits + uniform.log() - (-uniform).log1p()) / temperature).sigmoid()

    def draw_gates(self, probabilities: torch.Tensor) -> tuple[list[int], list[int]]:
        """Draws each input by its own probability, maybe none; returns the list of the indices of the drawn ones twice."""
        drawn = torch.bernoulli(probabilities).nonzero().flatten().tolist()
        return drawn, drawn

    def keep_total(self, logits: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Returns `logits` unchanged, since the probabilities of the other inputs do not depend on them."""
        return logits


Relaxation = Softmax | Sigmoid

SOFTMAX, SIGMOID = Softmax(), Sigmoid()


def _indicator(n_candidates: int, chosen: Sequence[int]) -> torch.Tensor:
    indicator = torch.zeros(n_candidates)
    indicator[list(chosen)] = 1.0
    return indicator


def _uniform_like(logits: torch.Tensor) -> torch.Tensor:
    return torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
