"""`ArchDistribution`, a learned probability distribution over the archs of a space with one logit for each candidate."""

from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Any, Self

import torch
from torch import nn

from hubserve.errors import ArchError, SupernetError
from hubserve.space import Arch, Choice, ModelSpace
from hubserve.supernet.tensor_keys import parameter_name

MAX_DRAWS = 2000
"""Number of draws that the space's check may refuse before drawing raises an error."""

N_FOR_LIKELIEST = 64
"""Number of archs drawn to find a likely one if the space's check refuses the combination of the most likely answers."""


class ArchDistribution(nn.Module):
    """A learned probability distribution over archs, in which the answer to each choice is independent of the others.

    The `relaxation` of a choice converts its logits to probabilities: by a softmax over the candidates or, for a choice of any
    subset of inputs, by a sigmoid for each input.

    Args:
        space: Any model space.
        seed: Seed of the initial logits.

    Attributes:
        logits: Maps each label to its logits, one for each of n candidates, shape (n,). They are initialised from a normal
            distribution with mean 0 and standard deviation 1e-3, on the CPU. Choices with a single answer have no logits.
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
        """Returns the probabilities of the candidates of each label, shape (n,); gradients flow back to the logits.

        For a choice of any subset of inputs, they are the probabilities that each input is in the subset (their sum may differ
        from 1).

        Args:
            labels: Labels to return; labels without logits are left out. None returns all labels that have logits.
        """
        choices = self._space.choices
        return {
            label: choices[label].relaxation.probabilities(logits)
            for label, logits in self.logits.items()
            if labels is None or label in labels
        }

    def likeliest(self, labels: Collection[str] | None = None) -> Arch:
        """Returns the most likely answer to each label, each found independently of the other labels.

        The combination is not validated: the space's check may refuse it. A choice with a single answer gets that answer.

        Args:
            labels: Labels to answer; None answers all labels.
        """
        learned = self.probabilities(labels)
        return {
            label: choice.likeliest(learned[label].detach()) if label in learned else choice.answer_at(0)
            for label, choice in self._space.choices.items()
            if labels is None or label in labels
        }

    def arch(self) -> Arch:
        """Returns the canonical arch of the most likely answers.

        If the space's check refuses their combination, returns the most likely of `N_FOR_LIKELIEST` archs, drawn with a fixed
        seed.

        Raises:
            SupernetError: The check refused the combination, and also `MAX_DRAWS` draws in a row.
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
        """Draws answers to `labels`, and returns valid answers to all labels; other labels get their most likely answer.

        The draw is repeated until the space's check accepts the answers.

        Args:
            labels: Labels to draw; those without logits have a single answer.
            rng: The source of random numbers.

        Raises:
            SupernetError: The check refused `MAX_DRAWS` draws.
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
        """Draws the answers to all choices and returns the canonical arch.

        Raises:
            SupernetError: The space's check refused `MAX_DRAWS` draws.
        """
        return self._answers_that_matter(self.draw(self.logits, rng))

    def _answers_that_matter(self, valid: Arch) -> Arch:
        """Returns the canonical arch of `valid`, which holds answers to all labels that the space's check has accepted.

        Answers to choices that are inactive (that the builder does not ask for, given the other answers) are left out.
        """
        return self._space.arch_from(lambda choice: valid[choice.label])

    def log_probability(self, answers: Mapping[str, Any]) -> torch.Tensor:
        """Returns the natural logarithm of the probability of `answers`, a scalar tensor; gradients flow back to the logits.

        Labels without logits, labels missing in `answers`, and choices that are inactive given the other answers add 0.

        Args:
            answers: Maps labels to answers; it may hold some of the labels only.
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
    """Returns whether `choice` may be active given `answers`, i.e. whether one of its conditions can hold.

    Labels that are missing in `answers` are assumed to have the value that the condition asks for.
    """
    return any(
        all(label not in answers or answers[label] in values for label, values in alternative)
        for alternative in choice.conditions
    )
