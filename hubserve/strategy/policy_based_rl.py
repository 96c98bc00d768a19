"""Policy-based reinforcement learning: a small PPO whose actions are the choices of an arch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import StrategyError, suggest
from hubserve.space import Arch, Choice
from hubserve.strategy.base import Strategy, at_least, probability, single_objective
from hubserve.strategy.lstm_policy import Actions, Episode, Policy, Ppo
from hubserve.strategy.trial_params import distribution

PATIENCE = 1000


class PolicyBasedRL(Strategy):
    """An LSTM controller that answers choice after choice and learns from the rewards by proximal policy optimization.

    The controller is that of Zoph and Le 2017 (https://arxiv.org/abs/1611.01578), the update that of Schulman et al. 2017
    (https://arxiv.org/abs/1707.06347), with the reward standardised over the batch in place of a critic. It learns after every
    `samples_per_update` finished trials, in the order of their numbers; a resumed study replays these updates, so it needs no
    checkpoint. It may propose an arch again; `Chain(PolicyBasedRL(), Deduplication())` does not.

    Args:
        samples_per_update: finished trials between two updates.
        replay_buffer_size: trials that an update learns from, the last ones; `samples_per_update` unless given.
        reward_for_invalid: of a failed trial. None leaves failed trials out.
        update_kwargs: NNI's form of two settings: "repeat" times "update_times" are the epochs, "batch_size" the batch size.
        learning_rate: of Adam. NNI's 1e-4 hardly moves within a few hundred trials.
        epochs: passes over the trials of an update.
        batch_size: trials per step; None takes all of an update together.
        clip: PPO's bound on the ratio of new to old probability.
        entropy_weight: keeps the policy from settling too early.
        hidden: units of the LSTM.
        seed: see Strategy.

    Raises (when asked for a trial):
        StrategyError: the study has several objectives, or the space's rules refused 1000 archs in a row.
    """

    def __init__(
        self,
        samples_per_update: int = 20,
        replay_buffer_size: int | None = None,
        reward_for_invalid: float | None = None,
        *,
        update_kwargs: Mapping[str, int] | None = None,
        learning_rate: float = 0.01,
        epochs: int = 5,
        batch_size: int | None = None,
        clip: float = 0.2,
        entropy_weight: float = 0.01,
        hidden: int = 64,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed=seed)
        epochs, batch_size = nni_update(update_kwargs, epochs, batch_size)
        at_least("PolicyBasedRL", 2, samples_per_update=samples_per_update, batch_size=batch_size)
        at_least("PolicyBasedRL", samples_per_update, replay_buffer_size=replay_buffer_size)
        at_least("PolicyBasedRL", 1, epochs=epochs, hidden=hidden)
        at_least("PolicyBasedRL", 0, learning_rate=learning_rate, entropy_weight=entropy_weight)
        probability("PolicyBasedRL", clip=clip)
        self.samples_per_update = samples_per_update
        self.replay_buffer_size = replay_buffer_size or samples_per_update
        self.reward_for_invalid = reward_for_invalid
        self._hidden = hidden
        self._ppo = Ppo(learning_rate, epochs, batch_size, clip, entropy_weight)
        self._policy = Policy(hidden, self.seed)
        self._episode = Episode(self._policy)
        self._learned: list[int] = []

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._catch_up(study)
        self._episode = Episode(self._policy)

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        space = self.bound
        for _ in range(PATIENCE):
            arch = space.arch_from(partial(self._drawn, Episode(self._policy)))
            if space.allows(arch):
                return arch
        raise StrategyError(f"PolicyBasedRL proposed {PATIENCE} archs that the rules of {type(space).__name__} refuse")

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if not isinstance(param_distribution, CategoricalDistribution):
            return super().sample_independent(study, trial, param_name, param_distribution)
        return self._answer(self._episode, param_name, param_distribution)

    def _drawn(self, episode: Episode, choice: Choice) -> Any:
        return choice.from_category(self._answer(episode, choice.label, distribution(choice)))

    def _answer(self, episode: Episode, label: str, categories: CategoricalDistribution) -> Any:
        if categories.single():
            return categories.choices[0]
        return categories.choices[episode.sample(label, len(categories.choices), self._rng)]

    def _catch_up(self, study: Study) -> None:
        """Makes the updates that the study's finished trials are due; starts afresh when shown another study."""
        sign = single_objective(study, self)
        states = (TrialState.COMPLETE,) if self.reward_for_invalid is None else (TrialState.COMPLETE, TrialState.FAIL)
        trials = [trial for trial in study.get_trials(deepcopy=False, states=states) if trial.params]
        numbers = [trial.number for trial in trials[: len(self._learned)]]
        if numbers != self._learned or self._policy.seed != self.seed:
            self._policy, self._learned = Policy(self._hidden, self.seed), []
        while len(self._learned) + self.samples_per_update <= len(trials):
            end = len(self._learned) + self.samples_per_update
            batch = trials[max(0, end - self.replay_buffer_size) : end]
            self._ppo.update(self._policy, [_actions(trial) for trial in batch], [self._reward(t, sign) for t in batch])
            self._learned = [trial.number for trial in trials[:end]]

    def _reward(self, trial: FrozenTrial, sign: int) -> float:
        if trial.state is TrialState.COMPLETE:
            return float(sign * trial.values[0])
        assert self.reward_for_invalid is not None
        return sign * self.reward_for_invalid


def _actions(trial: FrozenTrial) -> Actions:
    return tuple(
        (label, len(categories.choices), int(categories.to_internal_repr(trial.params[label])))
        for label, categories in trial.distributions.items()
        if isinstance(categories, CategoricalDistribution) and not categories.single()
    )


def nni_update(update_kwargs: Mapping[str, int] | None, epochs: int, batch_size: int | None) -> tuple[int, int | None]:
    """Epochs and batch size of an update: those of NNI's `update_kwargs` where given. Raises StrategyError."""
    given = dict(update_kwargs or {})
    known = ("batch_size", "repeat", "update_times")
    unknown = [name for name in given if name not in known]
    if unknown:
        raise StrategyError(f"PolicyBasedRL: update_kwargs has {unknown[0]!r}. {suggest(unknown[0], known)}")
    if "repeat" in given or "update_times" in given:
        epochs = given.get("repeat", 1) * given.get("update_times", 1)
    return epochs, given.get("batch_size", batch_size)
