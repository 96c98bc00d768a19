"""A learned distribution over the archs of a space: a logit for each candidate."""

from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Any, Self

import torch
from torch import nn

from hubserve.errors import ArchError, SupernetError
from hubserve.space import Arch, Choice, ModelSpace
from hubserve.supernet.tensor_keys import parameter_name

MAX_DRAWS = 2000
"""Number of refused draws after which drawing ends with an error: the space's check may refuse everything."""

N_FOR_LIKELIEST = 64
"""Archs that are drawn to find a likely one, where the space's check refuses the likeliest answers together."""


class ArchDistribution(nn.Module):
    """A distribution over archs: the answers to all choices are drawn independently.

    The `relaxation` of a choice says how its logits become probabilities: by softmax over the candidates, or by a sigmoid for
    each input where any subset of inputs may be chosen.

    Args:
        space: Any model space.
        seed: Seed of the fresh logits.

    Attributes:
        logits: Label -> one number for each candidate (n,), drawn from N(0, 1e-3) at first; on the CPU. Choices with a single
            answer have none.
    """

    def __init__(self, space: ModelSpace, *, seed: int = 0) -> None:
        super().__init__()
        self._space = space
        generator = torch.Generator().manual_seed(seed)
        self._parameters_by_name = nn.ParameterDict(
            {
                parameter_name(label): nn.Parameter(1e-3 * torch.randn(len(choice.candidates), generator=generator))
                for label, choice in space.choices.items()
                if choice.size > 1
            }
        )
        self._list_logits()

    def probabilities(self, labels: Collection[str] | None = None) -> dict[str, torch.Tensor]:
        """Label -> probability of each candidate, shape (n,); gradients go back to the logits.

        For a choice of any subset of inputs, these are the probabilities of each input to be in the subset.

        Args:
            labels: The labels that are wanted; None is all that have logits.
        """
        choices = self._space.choices
        return {
            label: choices[label].relaxation.probabilities(logits)
            for label, logits in self.logits.items()
            if labels is None or label in labels
        }

    def likeliest(self, labels: Collection[str] | None = None) -> Arch:
        """The likeliest answer to each of `labels` on its own; None is all labels.

        The space's check may refuse them together.

        A choice with a single answer has that answer.
        """
        learned = self.probabilities(labels)
        return {
            label: choice.likeliest(learned[label].detach()) if label in learned else choice.answer_at(0)
            for label, choice in self._space.choices.items()
            if labels is None or label in labels
        }

    def arch(self) -> Arch:
        """The canonical arch of the likeliest answers.

        Where the space's own check refuses them together, the likeliest of `N_FOR_LIKELIEST` archs that are drawn.

        Raises:
            SupernetError: No arch that was drawn is valid either.
        """
        try:
            return self._space.canonical(self.likeliest())
        except ArchError:
            rng = Random(0)
            drawn = [self.draw(self.logits, rng) for _ in range(N_FOR_LIKELIEST)]
            with torch.no_grad():
                best = max(drawn, key=lambda arch: float(self.log_probability(arch)))
            return self._answers_that_matter(best)

    def draw(self, labels: Collection[str], rng: Random) -> Arch:
        """Answers to all labels: those of `labels` are drawn, the others are the likeliest.

        They are drawn again until the space's check accepts them.

        Raises:
            SupernetError: It accepts none of `MAX_DRAWS` draws.
        """
        likeliest, choices = self.likeliest(), self._space.choices
        probabilities = {label: p.tolist() for label, p in self.probabilities(labels).items()}
        for _ in range(MAX_DRAWS):
            answers = {**likeliest, **{label: choices[label].draw(p, rng) for label, p in probabilities.items()}}
            try:
                self._space.validate(answers)
            except ArchError:
                continue
            return answers
        raise SupernetError(
            f"{type(self._space).__name__}: no valid arch in {MAX_DRAWS} draws from the learned probabilities of "
            f"{', '.join(sorted(labels))}; its check() may refuse nearly everything"
        )

    def draw_arch(self, rng: Random) -> Arch:
        """A canonical arch of which all answers are drawn.

        Raises:
            SupernetError: The space's check accepts none of `MAX_DRAWS` draws.
        """
        return self._answers_that_matter(self.draw(self.logits, rng))

    def _answers_that_matter(self, valid: Arch) -> Arch:
        """The canonical arch of answers to all labels that `draw` has validated."""
        return self._space.arch_from(lambda choice: valid[choice.label])

    def log_probability(self, answers: Mapping[str, Any]) -> torch.Tensor:
        """The log probability of `answers` (label -> answer), a scalar in nats with a graph.

        Labels without logits, and those that do not matter beside the others, add nothing.
        """
        total = torch.zeros(())
        for label, logits in self.logits.items():
            choice = self._space.choices[label]
            if label in answers and _may_matter(choice, answers):
                total = total + choice.relaxation.log_probability(logits, choice.indices(answers[label]))
        return total

    def _list_logits(self) -> None:
        # Listed once and not when asked for: strategies ask label by label, in each step.
        labels = [label for label, choice in self._space.choices.items() if choice.size > 1]
        self.logits = {label: self._parameters_by_name[parameter_name(label)] for label in labels}

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._list_logits()  # Moving to another device or type may make new parameters.
        return self


def _may_matter(choice: Choice, answers: Mapping[str, Any]) -> bool:
    """Whether `choice` matters beside `answers`.

    True also where answers that decide about it are missing.
    """
    return any(
        all(label not in answers or answers[label] in values for label, values in alternative)
        for alternative in choice.conditions
    )
