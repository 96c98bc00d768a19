"""`Policy`, the LSTM that answers one choice after the other, and `Episode`, one pass of it, for `PolicyBasedRL`."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from random import Random as Rng

import torch
from torch import nn

Actions = tuple[tuple[str, int, int], ...]
"""The answers of an arch in order, each as (label, number of categories, index of the chosen category)."""


class Policy(nn.Module):
    """An LSTM that returns logits for the next choice given the answers before it.

    The parameters of a label are made when it is first used. An untrained policy is uniform.

    Args:
        hidden: Number of units of the LSTM.
        seed: Seed of the weights. Those of a label depend on its name and the seed, not on when it is first used.
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
        """Returns the logits (batch, n_choices) of the categories of `label`, computed from `features` (batch, hidden)."""
        self.add_label(label, n_choices)
        weight = self.heads[_key(label)]
        return features @ weight[:, :-1].T + weight[:, -1]

    def embedding(self, label: str, actions: torch.Tensor) -> torch.Tensor:
        """Returns the embeddings (batch, hidden) of the answers `actions` (batch,) to `label`, which `add_label` has added."""
        return self.answers[_key(label)][actions]

    def add_label(self, label: str, n_choices: int) -> None:
        """Creates the parameters of `label` unless they exist; `n_choices` is its number of answers."""
        key = _key(label)
        if key not in self.heads:
            self.answers[key] = nn.Parameter(self._noise(f"answers/{label}", (n_choices, self.hidden)) * 0.1)
            self.heads[key] = nn.Parameter(torch.zeros(n_choices, self.hidden + 1))

    def _noise(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return torch.randn(shape, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))


class Episode:
    """One pass of the policy through the choices of an arch, or of a batch of archs with the same labels.

    Args:
        policy: The policy that returns the logits.
        batch: Number of archs.
    """

    def __init__(self, policy: Policy, batch: int = 1) -> None:
        self._policy = policy
        self._seen = torch.zeros(batch, policy.hidden)
        self._state: tuple[torch.Tensor, torch.Tensor] | None = None

    def logits(self, label: str, n_choices: int) -> torch.Tensor:
        """Returns the logits (batch, n_choices) for the next label. Call it once for each label, and `take` after it."""
        self._state = self._policy.cell(self._seen, self._state)
        return self._policy.logits(label, n_choices, self._state[0])

    def take(self, label: str, actions: torch.Tensor) -> None:
        """Sets the input of the policy's next step to the answers to `label`, given as indices of shape (batch,)."""
        self._seen = self._policy.embedding(label, actions)

    @torch.no_grad()
    def sample(self, label: str, n_choices: int, rng: Rng) -> int:
        """Draws an answer from the policy's probabilities, calls `take` with it and returns its index; `batch` must be 1."""
        action = rng.choices(range(n_choices), self.logits(label, n_choices)[0].softmax(0).tolist())[0]
        self.take(label, torch.tensor([action]))
        return action


def log_probabilities(policy: Policy, trials: Sequence[Actions]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the natural log probability of each trial's answers and the sum of the policy's entropies, both (trials,)."""
    totals: list[torch.Tensor] = [torch.zeros(())] * len(trials)
    entropies: list[torch.Tensor] = [torch.zeros(())] * len(trials)
    # Trials with the same labels are computed in one batch, which is many times faster.
    alike: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for place, actions in enumerate(trials):
        alike[tuple((label, n_choices) for label, n_choices, _ in actions)].append(place)
    for labels, places in alike.items():
        total, entropy = _batch_log_probabilities(policy, labels, [trials[place] for place in places])
        for row, place in enumerate(places):
            totals[place], entropies[place] = total[row], entropy[row]
    return torch.stack(totals), torch.stack(entropies)


def _batch_log_probabilities(
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


def _key(label: str) -> str:
    # torch forbids dots in names.
    return label.replace(".", "\u2024")
