"""The distribution over the answers to one choice that a logit for each candidate describes.

A choice of one candidate has a softmax over the candidates. A choice of k inputs has one, too, and its answer is drawn input by
input without replacement. In a choice of any subset, each input is in with the sigmoid of its logit, independently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import torch
from torch.nn import functional

from hubserve.space import Choice
from hubserve.supernet.blend import Blend


def is_independent(choice: Choice) -> bool:
    """Whether each candidate is in the answer or not independently of the others: any subset of inputs may be chosen."""
    return choice.multiple and choice.n_chosen is None


def probabilities(choice: Choice, logits: torch.Tensor) -> torch.Tensor:
    """The probability of each candidate (n,) from the logits (n,); of any subset, that each input is in it."""
    return logits.sigmoid() if is_independent(choice) else logits.softmax(0)


def likeliest(choice: Choice, p: torch.Tensor) -> Any:
    """The answer with the highest probability, given those of the candidates (n,)."""
    if not choice.multiple:
        return choice.candidates[int(p.argmax())]
    if choice.n_chosen is None:
        return (p > 0.5).nonzero().flatten().tolist()
    return sorted(p.topk(choice.n_chosen).indices.tolist())


def draw(choice: Choice, p: Sequence[float], rng: Random) -> Any:
    """An answer drawn from the probabilities of the candidates."""
    if not choice.multiple:
        return rng.choices(choice.candidates, p)[0]
    if choice.n_chosen is None:
        return [i for i, chance in enumerate(p) if rng.random() < chance]
    left, chosen = dict(enumerate(p)), []
    for _ in range(choice.n_chosen):
        chosen.append(rng.choices(list(left), list(left.values()))[0])
        del left[chosen[-1]]
    return sorted(chosen)


def log_probability(choice: Choice, logits: torch.Tensor, answer: Any) -> torch.Tensor:
    """The log probability (nats, a scalar with a graph) of `answer`.

    That of k inputs is approximated by the sum over them, as if each were drawn alone.
    """
    if not choice.multiple:
        return logits.log_softmax(0)[choice.candidates.index(answer)]
    if choice.n_chosen is None:
        signs = torch.full_like(logits, -1.0)
        signs[list(answer)] = 1.0
        return functional.logsigmoid(signs * logits).sum()
    return logits.log_softmax(0)[list(answer)].sum()


def all_weight_on(choice: Choice, answer: Any) -> Blend:
    """The blend in which only `answer` takes part: the blended network computes what its single network does."""
    n = len(choice.candidates)
    if not choice.multiple:
        return Blend.only(choice.candidates.index(answer), n)
    weights = torch.zeros(n)
    weights[answer] = 1.0 if choice.n_chosen is None else 1.0 / choice.n_chosen
    return Blend(weights, tuple(answer))


def may_matter(choice: Choice, answers: Mapping[str, Any]) -> bool:
    """Whether `choice` matters beside `answers` (of some labels), or may, where answers that decide about it are missing."""
    return any(
        all(label not in answers or answers[label] in values for label, values in alternative)
        for alternative in choice.conditions
    )
