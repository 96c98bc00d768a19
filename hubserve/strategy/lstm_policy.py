"""The controller of policy-based search: an LSTM that answers choice after choice, and how it learns."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random as Rng

import torch
from torch import nn

Actions = tuple[tuple[str, int, int], ...]
"""What was answered, in order: label, number of candidates, and which of them."""


class Policy(nn.Module):
    """Logits for the next choice given those before; embeddings and heads appear when a label is first met.

    The first policy is uniform.

    Args:
        hidden: units of the LSTM.
        seed: of the weights; those of a label depend on its name, not on when it was met.
    """

    def __init__(self, hidden: int, seed: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.seed = seed
        self.answers = nn.ParameterDict()
        self.heads = nn.ParameterDict()
        self.cell = nn.LSTMCell(hidden, hidden)
        for name, parameter in self.cell.named_parameters():
            parameter.data = self._noise(name, tuple(parameter.shape)) * 0.1

    def logits(self, label: str, n_choices: int, features: torch.Tensor) -> torch.Tensor:
        """(batch, n_choices) from features (batch, hidden)."""
        self._meet(label, n_choices)
        weight = self.heads[_key(label)]
        return features @ weight[:, :-1].T + weight[:, -1]

    def embedding(self, label: str, actions: torch.Tensor) -> torch.Tensor:
        """(batch, hidden) of answers (batch,) to a label that was met."""
        return self.answers[_key(label)][actions]

    def _meet(self, label: str, n_choices: int) -> None:
        key = _key(label)
        if key not in self.heads:
            self.answers[key] = nn.Parameter(self._noise(f"answers/{label}", (n_choices, self.hidden)) * 0.1)
            self.heads[key] = nn.Parameter(torch.zeros(n_choices, self.hidden + 1))

    def _noise(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return torch.randn(shape, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))


class Episode:
    """A walk of the policy through the choices of one arch, or of several that have the same labels.

    Args:
        batch: archs.
    """

    def __init__(self, policy: Policy, batch: int = 1) -> None:
        self._policy = policy
        self._seen = torch.zeros(batch, policy.hidden)
        self._state: tuple[torch.Tensor, torch.Tensor] | None = None

    def logits(self, label: str, n_choices: int) -> torch.Tensor:
        """(batch, n_choices) for the next label; ask once a label, then `take`."""
        self._state = self._policy.cell(self._seen, self._state)
        return self._policy.logits(label, n_choices, self._state[0])

    def take(self, label: str, actions: torch.Tensor) -> None:
        """Goes on with the answers (batch,) to `label`."""
        self._seen = self._policy.embedding(label, actions)

    @torch.no_grad()
    def sample(self, label: str, n_choices: int, rng: Rng) -> int:
        """One answer, drawn; goes on with it. For a batch of one."""
        action = rng.choices(range(n_choices), self.logits(label, n_choices)[0].softmax(0).tolist())[0]
        self.take(label, torch.tensor([action]))
        return action


def log_probabilities(policy: Policy, trials: Sequence[Actions]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all the answers of each trial together (trials,), and the summed entropy of the policy along them (trials,)."""
    totals: list[torch.Tensor] = [torch.zeros(())] * len(trials)
    entropies: list[torch.Tensor] = [torch.zeros(())] * len(trials)
    # Trials with the same labels walk together, which is many times faster.
    alike: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for place, actions in enumerate(trials):
        alike[tuple((label, n_choices) for label, n_choices, _ in actions)].append(place)
    for labels, places in alike.items():
        total, entropy = _walk_together(policy, labels, [trials[place] for place in places])
        for row, place in enumerate(places):
            totals[place], entropies[place] = total[row], entropy[row]
    return torch.stack(totals), torch.stack(entropies)


def _walk_together(
    policy: Policy, labels: Sequence[tuple[str, int]], trials: Sequence[Actions]
) -> tuple[torch.Tensor, torch.Tensor]:
    episode = Episode(policy, len(trials))
    total, entropy = torch.zeros(len(trials)), torch.zeros(len(trials))
    for step, (label, n_choices) in enumerate(labels):
        logs = episode.logits(label, n_choices).log_softmax(1)
        actions = torch.tensor([trial[step][2] for trial in trials])
        total = total + logs.gather(1, actions.unsqueeze(1)).squeeze(1)
        entropy = entropy - (logs.exp() * logs).sum(1)
        episode.take(label, actions)
    return total, entropy


@dataclass(frozen=True)
class Ppo:
    """Proximal policy optimization (Schulman et al. 2017), with the reward standardised over the batch in place of a critic.

    Attributes:
        learning_rate: of Adam.
        epochs: passes over the trials of an update.
        batch_size: trials per step; None takes all together.
        clip: bound on the ratio of new to old probability.
        entropy_weight: keeps the policy from settling too early.
    """

    learning_rate: float
    epochs: int
    batch_size: int | None
    clip: float
    entropy_weight: float

    def update(self, policy: Policy, trials: Sequence[Actions], rewards: Sequence[float]) -> None:
        """A few clipped steps towards the better half of `trials`."""
        reward = torch.tensor(rewards, dtype=torch.float32)
        advantage = (reward - reward.mean()) / (reward.std() + 1e-8)
        with torch.no_grad():
            old, _ = log_probabilities(policy, trials)
        optimizer = torch.optim.Adam(policy.parameters(), lr=self.learning_rate)
        size = self.batch_size or len(trials)
        for _ in range(self.epochs):
            for start in range(0, len(trials), size):
                rows = slice(start, start + size)
                new, entropy = log_probabilities(policy, trials[rows])
                ratio = (new - old[rows]).exp()
                clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
                gain = torch.minimum(ratio * advantage[rows], clipped * advantage[rows])
                optimizer.zero_grad()
                loss: torch.Tensor = -(gain + self.entropy_weight * entropy).mean()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()


def _key(label: str) -> str:
    # torch forbids dots in names.
    return label.replace(".", "\u2024")
