"""`ENAS`, a one-shot strategy in which a controller (an LSTM) learns which archs of a supernet score well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, ClassVar

import torch

from hubserve.errors import StrategyError, SupernetError
from hubserve.space import Arch, Choice, ModelSpace
from hubserve.strategy.lstm_policy import Actions, Episode, Policy
from hubserve.strategy.oneshot.arch_costs import ArchCost, cost_of, shape_of
from hubserve.strategy.oneshot.base import OneShotStrategy
from hubserve.strategy.oneshot.cost_limits import Penalty, make_penalty
from hubserve.strategy.oneshot.extract_subnet import extract
from hubserve.strategy.oneshot.search import OneShotProgress, OneShotSearch
from hubserve.strategy.ppo import Ppo, nni_update
from hubserve.strategy.settings_checks import at_least
from hubserve.supernet import Supernet
from hubserve.training.evaluator import TrainingEvaluator

PATIENCE = 1000
"""Number of archs in a row that the space's check may refuse before the search raises an error."""

MAX_ANSWERS = 4096
"""Largest number of answers that a choice may have; the controller has an output for each."""

HIDDEN = 64
"""Number of units of the controller's LSTM."""


@dataclass(frozen=True)
class ENAS(OneShotStrategy):
    """A controller draws the arch for each training step, and learns by reinforcement learning which archs score well.

    Pham et al. 2018, "Efficient Neural Architecture Search via Parameter Sharing" (https://arxiv.org/abs/1802.03268,
    section 2.2). The controller and its update are those of `PolicyBasedRL`: an LSTM and proximal policy optimization, where
    the paper uses REINFORCE. Each training batch is followed by one validation batch, which gives a reward. The result is the
    best, by the evaluator's first objective, of `final_samples` archs that the trained controller draws, each with its batch
    norms recalibrated and scored on the validation data. Supports every space whose choices have at most `MAX_ANSWERS` answers
    each.

    Attributes:
        batches_per_update: Number of rewards, one for each validation batch, between two updates of the controller; at least 2.
        log_prob_every_n_step: Not used; it exists for compatibility with NNI.
        replay_buffer_size: Number of the most recent rewards that an update learns from; None, or less than
            `batches_per_update`, is `batches_per_update`.
        reward_metric_name: Name of a score of the evaluator. The reward is then that score on all validation data, with batch
            norms recalibrated, so each reward takes a whole validation; minus the score if it is an objective to minimize or
            its name ends in "loss". None: the reward is minus the loss of the validation batch.
        update_kwargs: NNI's settings of an update, as in `PolicyBasedRL`: the number of epochs is "repeat" times
            "update_times", and "batch_size" is the batch size. None is 5 epochs with all rewards in one batch.
        warmup_epochs: Number of epochs at the start, at least 0, in which archs are drawn at random and the controller does not
            learn.
        penalty: A `Penalty` of the reward for the cost of the drawn arch, or a dict of its attributes; None applies no penalty.
        gradient_clip_val: Largest norm of all gradients of the weights together; 0 does not clip, None uses the evaluator's.
        learning_rate: Learning rate of the controller's optimizer, Adam, at least 0.
        final_samples: Number of archs that are drawn at the end, at least 1; the best of them is the result.

    Raises:
        StrategyError: A value is not allowed (`learning_rate` and the values in `update_kwargs` are checked when run); or, when
            run, the evaluator has no score `reward_metric_name`, or the space's check refused `PATIENCE` archs in a row.
        SupernetError: When run: a choice has more than `MAX_ANSWERS` answers.
    """

    supports: ClassVar[frozenset[str]] = frozenset({"drop_path_prob"})

    batches_per_update: int = 20
    log_prob_every_n_step: int = 10
    replay_buffer_size: int | None = None
    reward_metric_name: str | None = None
    update_kwargs: Mapping[str, int] | None = field(default=None, kw_only=True)
    warmup_epochs: int = field(default=0, kw_only=True)
    penalty: Penalty | Mapping[str, Any] | None = field(default=None, kw_only=True)
    gradient_clip_val: float | None = field(default=None, kw_only=True)
    learning_rate: float = field(default=0.01, kw_only=True)
    final_samples: int = field(default=10, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "penalty", make_penalty(self.penalty))
        at_least(self, 2, "batches_per_update")
        at_least(self, 1, "final_samples")
        at_least(self, 0, "warmup_epochs", "gradient_clip_val")
        nni_update(self.update_kwargs, 5, None)  # Raises where a key is unknown.

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> EnasSearch:
        return EnasSearch(space, evaluator, self, seed=seed, total_steps=total_steps)


class EnasSearch(OneShotSearch):
    """The search of `ENAS`.

    Args:
        space: Any model space whose choices have at most `MAX_ANSWERS` answers.
        evaluator: Computes the losses and scores, and provides the optimizer of the weights.
        strategy: The settings.
        seed: Seed of the weights, the controller and the drawn archs.
        total_steps: Number of training steps of all epochs together.

    Raises:
        SupernetError: A choice has more than `MAX_ANSWERS` answers.
    """

    def __init__(self, space: ModelSpace, evaluator: TrainingEvaluator, strategy: ENAS, *, seed: int, total_steps: int) -> None:
        self._policy = _policy(space, seed)
        supernet, clip = Supernet(space, seed=seed), strategy.gradient_clip_val
        super().__init__(supernet, evaluator, seed=seed, total_steps=total_steps, gradient_clip_val=clip)
        self._space = space
        self._strategy = strategy
        self._penalty = make_penalty(strategy.penalty)
        epochs, batch_size = nni_update(strategy.update_kwargs, 5, None)
        self._ppo = Ppo(strategy.learning_rate, epochs, batch_size, clip=0.2, entropy_weight=0.01)
        self._cost: ArchCost | None = None
        self._episodes: list[tuple[Actions, float]] = []
        self._rewards = 0

    def prepare(self, x: Any) -> None:
        if self._penalty is not None:
            self._cost = cost_of(self._penalty.profiler, self._space, shape_of(x))

    def step(self, x: Any, target: Any) -> OneShotProgress:
        learns = self.epoch >= self._strategy.warmup_epochs
        arch = self.propose()[0] if learns else self._space.random(self.rng)
        loss, leaves = self.weights.network_loss(arch, x, target)
        row: OneShotProgress = {"train_loss": self.weights.step(loss, leaves)}
        if learns:
            row |= self._learn(*next(self.val_batches))
        return row

    def propose(self, rng: Random | None = None) -> tuple[Arch, Actions]:
        """Returns an arch drawn by the controller, and its answers in the format that `Ppo.update` accepts.

        Args:
            rng: Draws the answers; None uses the random generator of the present epoch.

        Raises:
            StrategyError: The space's check refused `PATIENCE` archs in a row.
        """
        rng = rng or self.rng
        for _ in range(PATIENCE):
            actions: list[tuple[str, int, int]] = []
            arch = self._space.arch_from(partial(self._drawn, Episode(self._policy), actions, rng))
            if self._space.allows(arch):
                return arch, tuple(actions)
        raise StrategyError(f"ENAS proposed {PATIENCE} archs that the rules of {type(self._space).__name__} refuse")

    def _drawn(self, episode: Episode, actions: list[tuple[str, int, int]], rng: Random, choice: Choice) -> Any:
        """Returns the controller's answer to `choice`, and appends it to `actions` unless the choice has a single answer."""
        if choice.size == 1:
            return choice.answer_at(0)
        action = episode.sample(choice.label, choice.size, rng)
        actions.append((choice.label, choice.size, action))
        return choice.answer_at(action)

    def _learn(self, x: Any, target: Any) -> OneShotProgress:
        """Gets one reward on a validation batch; updates the controller after every `batches_per_update` rewards.

        An arch all of whose choices have a single answer is not learned from. Returns {"val_loss": ..., "reward": ...} for the
        history.
        """
        every = self._strategy.batches_per_update
        arch, actions = self.propose()
        loss, reward = self._reward(arch, x, target)
        if not actions:
            return {"val_loss": loss, "reward": reward}
        kept = max(self._strategy.replay_buffer_size or 0, every)
        self._episodes = [*self._episodes, (actions, reward)][-kept:]
        self._rewards += 1
        if self._rewards % every == 0:
            taken, rewards = zip(*self._episodes, strict=True)
            self._ppo.update(self._policy, taken, rewards)
        return {"val_loss": loss, "reward": reward}

    def _reward(self, arch: Arch, x: Any, target: Any) -> tuple[float, float]:
        """Returns the loss of `arch` on a validation batch, and its reward.

        Raises:
            StrategyError: The evaluator has no score `reward_metric_name`.
        """
        with torch.no_grad():
            # In training mode: the running statistics of batch norms fit no single arch.
            loss, _ = self.weights.network_loss(arch, x, target)
        value = -loss
        if (name := self._strategy.reward_metric_name) is not None:
            scores = extract(self.supernet, arch, self.evaluator, seed=self._seed).after
            if name not in scores:
                raise StrategyError(f"reward_metric_name = {name!r} is none of the evaluator's scores {tuple(scores)}")
            smaller = any(o.name == name and o.direction == "minimize" for o in self.evaluator.objectives)
            value = torch.tensor(-scores[name] if smaller or name.endswith("loss") else scores[name])
        if self._cost is not None and self._penalty is not None:
            value = -self._penalty.apply(-value, self._cost(arch))
        return float(loss), float(value)

    def arch(self) -> Arch:
        objective = self.evaluator.objectives[0]
        sign = -1.0 if objective.direction == "minimize" else 1.0
        # Not the generator of the epoch: a finished run that is started again has none.
        rng = Random(f"{self._seed}/final")
        drawn = [self.propose(rng)[0] for _ in range(self._strategy.final_samples)]
        different = {tuple(map(str, arch.items())): arch for arch in drawn}
        scores = {key: extract(self.supernet, each, self.evaluator, seed=self._seed).after for key, each in different.items()}
        return different[max(scores, key=lambda key: sign * scores[key][objective.name])]

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "policy": self._policy.state_dict(),
            "episodes": [[list(map(list, actions)), reward] for actions, reward in self._episodes],
            "rewards": self._rewards,
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self._policy.load_state_dict(state["policy"])
        self._episodes = [(tuple((a, n, i) for a, n, i in actions), reward) for actions, reward in state["episodes"]]
        self._rewards = state["rewards"]


def _policy(space: ModelSpace, seed: int) -> Policy:
    """Returns a controller that already has the parameters of all choices, so that a checkpoint can be loaded into it.

    Raises:
        SupernetError: A choice has more than `MAX_ANSWERS` answers.
    """
    policy = Policy(HIDDEN, seed)
    for choice in space.choices.values():
        if choice.size > MAX_ANSWERS:
            raise SupernetError(
                f"ENAS: {choice.label!r} has {choice.size} answers, and a controller distinguishes {MAX_ANSWERS}; use "
                "RandomOneShot or DARTS"
            )
        policy.logits(choice.label, choice.size, torch.zeros(1, HIDDEN))
    return policy
