"""`Ppo`, proximal policy optimization, by which `PolicyBasedRL` learns from the scores of trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from hubserve.errors import StrategyError
from hubserve.similar_names import suggest
from hubserve.strategy.lstm_policy import Actions, Policy, log_probabilities
from hubserve.strategy.settings_checks import at_least, probability


@dataclass(frozen=True)
class Ppo:
    """Proximal policy optimization (Schulman et al. 2017), with the reward standardised over the batch instead of a critic.

    Attributes:
        learning_rate: Learning rate of Adam, at least 0.
        epochs: Number of passes over the trials of an update, at least 1.
        batch_size: Number of trials in an optimizer step, at least 2; None uses all trials of an update in one step.
        clip: The ratio of new to old probability is clipped to [1 - clip, 1 + clip]; from 0 to 1.
        entropy_weight: Weight of the policy's entropy in the loss, at least 0. A larger weight makes the policy explore longer.

    Raises:
        StrategyError: A setting is out of its range.
    """

    learning_rate: float
    epochs: int
    batch_size: int | None
    clip: float
    entropy_weight: float

    def __post_init__(self) -> None:
        at_least(self, 0, "learning_rate", "entropy_weight")
        at_least(self, 1, "epochs")
        at_least(self, 2, "batch_size")
        probability(self, "clip")

    def update(self, policy: Policy, trials: Sequence[Actions], rewards: Sequence[float]) -> None:
        """Trains the policy, in place, to give the answers of trials with better rewards a higher probability.

        Args:
            policy: The policy to train.
            trials: The answers of each trial; at least two trials.
            rewards: One reward for each trial; larger is better.
        """
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


def nni_update(update_kwargs: Mapping[str, int] | None, epochs: int, batch_size: int | None) -> tuple[int, int | None]:
    """Returns (epochs, batch size) of an update: values in NNI's `update_kwargs` override the other two arguments.

    `epochs` becomes "repeat" times "update_times" if one of them is given; the other counts as 1.

    Raises:
        StrategyError: `update_kwargs` has a key other than "batch_size", "repeat" and "update_times".
    """
    given = dict(update_kwargs or {})
    known = ("batch_size", "repeat", "update_times")
    if unknown := [name for name in given if name not in known]:
        raise StrategyError(f"PolicyBasedRL: update_kwargs has {unknown[0]!r}. {suggest(unknown[0], known)}")
    if "repeat" in given or "update_times" in given:
        epochs = given.get("repeat", 1) * given.get("update_times", 1)
    return epochs, given.get("batch_size", batch_size)
