"""Policy-based reinforcement learning: a small PPO whose actions are the choices of an arch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial
from torch import nn

from hubserve.errors import StrategyError
from hubserve.strategy.base import Strategy, completed, single_objective


class PolicyBasedRL(Strategy):
    """An LSTM controller that answers choice after choice and learns from the rewards by proximal policy optimization.

    The controller is that of Zoph and Le 2017 (https://arxiv.org/abs/1611.01578), the update that of Schulman et al. 2017
    (https://arxiv.org/abs/1707.06347), with the reward standardised over the batch in place of a critic. It learns after every
    `samples_per_update` finished trials, from those trials, in the order of their numbers; a resumed study replays these
    updates, so it needs no checkpoint.

    Args:
        samples_per_update: finished trials per update.
        learning_rate: of Adam. NNI's 1e-4 hardly moves within a few hundred trials.
        epochs: passes over the trials of an update.
        clip: PPO's bound on the ratio of new to old probability.
        entropy_weight: keeps the policy from settling too early.
        hidden: units of the LSTM.
        seed: see Strategy.
    """

    def __init__(
        self,
        samples_per_update: int = 20,
        *,
        learning_rate: float = 0.01,
        epochs: int = 5,
        clip: float = 0.2,
        entropy_weight: float = 0.01,
        hidden: int = 64,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed=seed)
        if samples_per_update < 2:
            raise StrategyError(f"samples_per_update = {samples_per_update}: at least 2, rewards are compared within an update")
        self.samples_per_update = samples_per_update
        self.epochs = epochs
        self.clip = clip
        self.entropy_weight = entropy_weight
        self.learning_rate = learning_rate
        self.hidden = hidden
        self._learner = self._fresh_learner()
        self._episode = Episode()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._catch_up(study)
        self._episode = Episode()

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if not isinstance(param_distribution, CategoricalDistribution):
            return super().sample_independent(study, trial, param_name, param_distribution)
        choices = param_distribution.choices
        with torch.no_grad():
            logits = self._learner.policy.step(self._episode, param_name, len(choices))
        action = self._rng.choices(range(len(choices)), logits.softmax(0).tolist())[0]
        self._episode.take(param_name, action)
        return choices[action]

    def _catch_up(self, study: Study) -> None:
        """Replays the updates that the study's finished trials are due; starts afresh when shown another study."""
        sign = single_objective(study, self)
        trials = completed(study)
        batches = [trials[i : i + self.samples_per_update] for i in range(0, len(trials), self.samples_per_update)]
        due = [batch for batch in batches if len(batch) == self.samples_per_update]
        keys = [tuple(trial.number for trial in batch) for batch in due]
        if self._learner.learned != keys[: len(self._learner.learned)]:
            self._learner = self._fresh_learner()
        for batch in due[len(self._learner.learned) :]:
            self._learner.update(batch, [sign * trial.values[0] for trial in batch])

    def _fresh_learner(self) -> Learner:
        policy = Policy(self.hidden, self.seed)
        return Learner(policy, self.learning_rate, self.epochs, self.clip, self.entropy_weight)


@dataclass
class Episode:
    """What the controller remembers while it answers one trial."""

    state: tuple[torch.Tensor, torch.Tensor] | None = None
    last: tuple[str, int] | None = None

    def take(self, label: str, action: int) -> None:
        self.last = (label, action)


class Policy(nn.Module):
    """Logits for the next choice given those before; embeddings and heads appear when a label is first met."""

    def __init__(self, hidden: int, seed: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.seed = seed
        self.answers = nn.ParameterDict()
        self.heads = nn.ParameterDict()
        self.cell = nn.LSTMCell(hidden, hidden)
        for name, parameter in self.cell.named_parameters():
            parameter.data = self._noise(name, tuple(parameter.shape)) * 0.1

    def step(self, episode: Episode, label: str, n_choices: int) -> torch.Tensor:
        """Logits (n_choices,) for `label`; moves the episode's state on."""
        key = _key(label)
        if key not in self.heads:
            self.answers[key] = nn.Parameter(self._noise(f"answers/{label}", (n_choices, self.hidden)) * 0.1)
            # Zero: the first policy is uniform.
            self.heads[key] = nn.Parameter(torch.zeros(n_choices, self.hidden + 1))
        seen = torch.zeros(self.hidden) if episode.last is None else self.answers[_key(episode.last[0])][episode.last[1]]
        state = self.cell(seen.unsqueeze(0), episode.state)
        episode.state = state
        logits: torch.Tensor = self.heads[key] @ torch.cat([state[0][0], torch.ones(1)])
        return logits

    def _noise(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """Normal numbers that depend on the seed and the name, not on when the label was met."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return torch.randn(shape, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))


def _key(label: str) -> str:
    # torch forbids dots in names.
    return label.replace(".", "\u2024")


@dataclass
class Learner:
    """The policy, its optimizer, and which batches of trials it has learned from."""

    policy: Policy
    learning_rate: float
    epochs: int
    clip: float
    entropy_weight: float
    learned: list[tuple[int, ...]] = field(default_factory=list)

    def update(self, trials: Sequence[FrozenTrial], rewards: Sequence[float]) -> None:
        """A few clipped steps towards the better half of `trials`."""
        reward = torch.tensor(rewards, dtype=torch.float32)
        advantage = (reward - reward.mean()) / (reward.std() + 1e-8)
        with torch.no_grad():
            old = torch.stack([self._log_probability(trial)[0] for trial in trials])
        optimizer = torch.optim.Adam(self.policy.parameters(), lr=self.learning_rate)
        for _ in range(self.epochs):
            new, entropy = (torch.stack(values) for values in zip(*map(self._log_probability, trials), strict=True))
            ratio = (new - old).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
            optimizer.zero_grad()
            loss: torch.Tensor = -(gain + self.entropy_weight * entropy).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self.learned.append(tuple(trial.number for trial in trials))

    def _log_probability(self, trial: FrozenTrial) -> tuple[torch.Tensor, torch.Tensor]:
        """Of all the trial's answers together, and the entropy of the policy along them."""
        episode = Episode()
        total, entropy = torch.zeros(()), torch.zeros(())
        for label, distribution in trial.distributions.items():
            if isinstance(distribution, CategoricalDistribution) and not distribution.single():
                logs = self.policy.step(episode, label, len(distribution.choices)).log_softmax(0)
                action = int(distribution.to_internal_repr(trial.params[label]))
                total, entropy = total + logs[action], entropy - (logs.exp() * logs).sum()
                episode.take(label, action)
        return total, entropy
