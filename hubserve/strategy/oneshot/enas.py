"""ENAS: a controller that proposes paths through a supernet, and learns from how well they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from random import Random
from typing import Any

import torch

from hubserve.data.loaders import Batch
from hubserve.errors import StrategyError, SupernetError
from hubserve.space import Arch, Choice, ModelSpace
from hubserve.strategy.lstm_policy import Actions, Episode, Policy
from hubserve.strategy.oneshot.arch_costs import ArchCost, cost_of
from hubserve.strategy.oneshot.base import OneShotProgress, OneShotSearch, OneShotStrategy
from hubserve.strategy.oneshot.cost_limits import Penalty, make_penalty, shape_of
from hubserve.strategy.oneshot.extraction import extract
from hubserve.strategy.oneshot.weight_training import WeightTraining, train_network
from hubserve.strategy.ppo import Ppo, nni_update
from hubserve.supernet import Supernet
from hubserve.supernet.memory_estimates import weight_bytes
from hubserve.training.evaluator import TrainingEvaluator

PATIENCE, MAX_ANSWERS = 1000, 4096
"""Archs that a space's rules may refuse in a row; answers to one choice that a controller can tell apart."""


class ENAS(OneShotStrategy):
    """A controller draws the path of each training step; every few validation batches it learns which paths did well.

    Pham et al. 2018, "Efficient Neural Architecture Search via Parameter Sharing" (https://arxiv.org/abs/1802.03268). The
    controller and its update are those of `PolicyBasedRL`: an LSTM and proximal policy optimization, where the paper has
    REINFORCE. Steps on weights and on rewards alternate batch by batch. The arch is the best of some that the trained
    controller draws, each with its batch norms recalibrated and scored on the validation data. Defined for every space whose
    choices have at most 4096 answers each.

    Args:
        batches_per_update: rewards, one for each validation batch, between two updates of the controller.
        log_prob_every_n_step: taken for NNI's sake; a controller has no probabilities to note that hold for all archs.
        replay_buffer_size: rewards that an update learns from, the last ones; `batches_per_update` unless given.
        reward_metric_name: None rewards with minus the loss of the validation batch. The name of a score of the evaluator
            rewards with that score on all validation data, batch norms recalibrated, which takes as much longer.
        update_kwargs: see PolicyBasedRL.
        warmup_epochs: epochs at the start in which paths are uniform and the controller does not learn.
        penalty: see Penalty; of the arch that was drawn, counted exactly.
        gradient_clip_val: largest norm of the weights' gradients together; None takes the evaluator's.
        learning_rate: of the controller.
        final_samples: archs of which the best is the result.

    Raises:
        StrategyError: a value is not allowed.
    """

    def __init__(
        self,
        batches_per_update: int = 20,
        log_prob_every_n_step: int = 10,
        replay_buffer_size: int | None = None,
        reward_metric_name: str | None = None,
        *,
        update_kwargs: Mapping[str, int] | None = None,
        warmup_epochs: int = 0,
        penalty: Penalty | Mapping[str, Any] | None = None,
        gradient_clip_val: float | None = None,
        learning_rate: float = 0.01,
        final_samples: int = 10,
    ) -> None:
        if batches_per_update < 2 or final_samples < 1 or warmup_epochs < 0:
            raise StrategyError(
                f"ENAS: batches_per_update = {batches_per_update} must be at least 2, final_samples = {final_samples} at "
                f"least 1, and warmup_epochs = {warmup_epochs} at least 0"
            )
        self.batches_per_update = batches_per_update
        self.replay_buffer_size = max(replay_buffer_size or 0, batches_per_update)
        self.reward_metric_name = reward_metric_name
        self.warmup_epochs = warmup_epochs
        self.penalty = make_penalty(penalty)
        self.gradient_clip_val = gradient_clip_val
        self.final_samples = final_samples
        epochs, batch_size = nni_update(update_kwargs, 5, None)
        self.ppo = Ppo(learning_rate, epochs, batch_size, clip=0.2, entropy_weight=0.01)

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> EnasSearch:
        return EnasSearch(space, evaluator, self, seed=seed, total_steps=total_steps)


class EnasSearch(OneShotSearch):
    """See ENAS."""

    def __init__(self, space: ModelSpace, evaluator: TrainingEvaluator, strategy: ENAS, *, seed: int, total_steps: int) -> None:
        for choice in space.choices.values():
            if choice.size > MAX_ANSWERS:
                raise SupernetError(
                    f"ENAS: {choice.label!r} has {choice.size} answers, and a controller tells {MAX_ANSWERS} apart; use "
                    "RandomOneShot or DARTS"
                )
        self.supernet = Supernet(space, seed=seed)
        self._space = space
        self._evaluator = evaluator
        self._strategy = strategy
        self._seed = seed
        self._policy = Policy(64, seed)
        for choice in space.choices.values():
            # Met now, the controller has all its tensors when a checkpoint is read.
            self._policy.logits(choice.label, choice.size, torch.zeros(1, 64))
        self._rng = Random(seed)
        self._val: Iterator[Batch] = iter(())
        self._epoch = 0
        self._cost: ArchCost | None = None
        self.weights = WeightTraining(
            self.supernet, evaluator, total_steps=total_steps, gradient_clip_val=strategy.gradient_clip_val
        )
        self._episodes: list[tuple[Actions, float]] = []
        self._rewards = 0

    def prepare(self, x: Any) -> int:
        if self._strategy.penalty is not None:
            self._cost = cost_of(self._strategy.penalty.profiler, self._space, shape_of(x))
        activations = self.supernet.activation_bytes(x) if isinstance(x, torch.Tensor) else 0
        return weight_bytes(self.supernet, copies=4) + activations

    def begin(self, epoch: int, val_batches: Iterator[Batch]) -> None:
        self._epoch = epoch
        self._rng = Random(f"{self._seed}/{epoch}")
        self._val = val_batches

    def step(self, x: Any, target: Any) -> OneShotProgress:
        learns = self._epoch >= self._strategy.warmup_epochs
        arch = self.propose()[0] if learns else self._space.random(self._rng)
        loss, leaves = train_network(self.supernet, arch, self._evaluator, x, target)
        row: OneShotProgress = {"train_loss": self.weights.step(loss, leaves)}
        if learns:
            row |= self._learn(*next(self._val))
        return row

    def propose(self, rng: Random | None = None) -> tuple[Arch, Actions]:
        """An arch that the controller draws, and its answers as actions; with the epoch's numbers unless given others."""
        rng = rng or self._rng
        for _ in range(PATIENCE):
            actions: list[tuple[str, int, int]] = []
            arch = self._space.arch_from(partial(self._drawn, Episode(self._policy), actions, rng))
            if self._space.allows(arch):
                return arch, tuple(actions)
        raise StrategyError(f"ENAS proposed {PATIENCE} archs that the rules of {type(self._space).__name__} refuse")

    def _drawn(self, episode: Episode, actions: list[tuple[str, int, int]], rng: Random, choice: Choice) -> Any:
        """The controller's answer to a choice; appends its action to `actions`, unless there is only one answer."""
        if choice.size == 1:
            return choice.answer_at(0)
        action = episode.sample(choice.label, choice.size, rng)
        actions.append((choice.label, choice.size, action))
        return choice.answer_at(action)

    def _learn(self, x: Any, target: Any) -> OneShotProgress:
        """One reward, and an update when enough have come together."""
        strategy = self._strategy
        arch, actions = self.propose()
        loss, reward = self._reward(arch, x, target)
        if not actions:
            return {"val_loss": loss, "reward": reward}
        self._episodes = [*self._episodes, (actions, reward)][-strategy.replay_buffer_size :]
        self._rewards += 1
        if self._rewards % strategy.batches_per_update == 0:
            taken, rewards = zip(*self._episodes, strict=True)
            strategy.ppo.update(self._policy, taken, rewards)
        return {"val_loss": loss, "reward": reward}

    def _reward(self, arch: Arch, x: Any, target: Any) -> tuple[float, float]:
        with torch.no_grad():
            # In training mode: the running statistics of batch norms are no one arch's.
            loss, _ = train_network(self.supernet, arch, self._evaluator, x, target)
        value = -loss
        if (name := self._strategy.reward_metric_name) is not None:
            scores = extract(self.supernet, arch, self._evaluator, seed=self._seed).after
            if name not in scores:
                raise StrategyError(f"reward_metric_name = {name!r} is none of the evaluator's scores {tuple(scores)}")
            smaller = any(o.name == name and o.direction == "minimize" for o in self._evaluator.objectives)
            value = torch.tensor(-scores[name] if smaller or name.endswith("loss") else scores[name])
        if self._cost is not None and self._strategy.penalty is not None:
            value = -self._strategy.penalty.apply(-value, self._cost(arch))
        return float(loss), float(value)

    def arch(self) -> Arch:
        objective = self._evaluator.objectives[0]
        sign = -1.0 if objective.direction == "minimize" else 1.0
        # Not the epoch's numbers: a finished run that is started again has no epoch.
        rng = Random(f"{self._seed}/final")
        drawn = [self.propose(rng)[0] for _ in range(self._strategy.final_samples)]
        different = {tuple(map(str, arch.items())): arch for arch in drawn}

        def score(arch: Arch) -> float:
            return sign * extract(self.supernet, arch, self._evaluator, seed=self._seed).after[objective.name]

        archs = list(different.values())
        return archs[max(range(len(archs)), key=lambda i: score(archs[i]))]

    def state_dict(self) -> dict[str, Any]:
        return {
            **self.weights.state_dict(),
            "policy": self._policy.state_dict(),
            "episodes": [[list(map(list, actions)), reward] for actions, reward in self._episodes],
            "rewards": self._rewards,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.weights.load_state_dict(state_dict)
        self._policy.load_state_dict(state_dict["policy"])
        self._episodes = [(tuple((a, n, i) for a, n, i in actions), reward) for actions, reward in state_dict["episodes"]]
        self._rewards = state_dict["rewards"]
