"""`PolicyBasedRL`, the strategy that learns by reinforcement learning which archs to propose."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution as Distribution
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from hubserve.space import Arch, Choice
from hubserve.strategy.base import Strategy, single_objective
from hubserve.strategy.lstm_policy import Actions, Episode, Policy
from hubserve.strategy.optuna_internals import note_on_trial
from hubserve.strategy.ppo import Ppo, nni_update
from hubserve.strategy.settings_checks import at_least
from hubserve.strategy.trial_params import distribution

ENDED = "hubserve:ended"
"""System attribute of a trial: its place, from 1, in the order in which the trials of the study ended."""


@dataclass(frozen=True)
class PolicyBasedRLSettings:
    """The arguments of `PolicyBasedRL` except its seed, documented there. Raises StrategyError if one is out of its range.

    Attributes:
        ppo: The arguments of the policy's updates.
    """

    samples_per_update: int
    replay_buffer_size: int
    reward_for_invalid: float | None
    hidden: int
    ppo: Ppo

    def __post_init__(self) -> None:
        at_least(self, 2, "samples_per_update")
        at_least(self, self.samples_per_update, "replay_buffer_size")
        at_least(self, 1, "hidden")


class PolicyBasedRL(Strategy):
    """An LSTM policy that answers one choice after the other and learns from the scores by proximal policy optimization (PPO).

    The policy is that of Zoph and Le 2017 (https://arxiv.org/abs/1611.01578), the update that of Schulman et al. 2017
    (https://arxiv.org/abs/1707.06347), with the reward standardised over the batch instead of a critic. It learns after every
    `samples_per_update` finished trials, in the order in which they ended. A resumed study repeats these updates from its
    stored trials, so no checkpoint is needed. It may propose an arch twice; `Chain(PolicyBasedRL(), Deduplication())` does not.
    In a study without a space, the policy answers categorical parameters; others are drawn at random.

    Args:
        samples_per_update: Number of trials between two updates, at least 2. Complete trials are counted and, with
            `reward_for_invalid`, failed ones; pruned trials are not learned from.
        replay_buffer_size: Number of the most recent trials that an update learns from, at least `samples_per_update`. None is
            `samples_per_update`.
        reward_for_invalid: Value of the objective that a failed trial counts as, so a large one is bad if the study minimizes;
            None does not learn from failed trials.
        update_kwargs: NNI's arguments of an update, which override ours: `epochs` becomes "repeat" times "update_times" (1 if
            missing), and `batch_size` becomes "batch_size".
        learning_rate: Learning rate of Adam, at least 0. NNI's 1e-4 hardly changes the policy within a few hundred trials.
        epochs: Number of passes over the trials of an update, at least 1.
        batch_size: Number of trials in an optimizer step, at least 2; None uses all trials of an update in one step.
        clip: The ratio of new to old probability is clipped to [1 - clip, 1 + clip]; from 0 to 1.
        entropy_weight: Weight of the policy's entropy in the loss, at least 0. A larger weight makes the policy explore longer.
        hidden: Number of units of the LSTM, at least 1.
        seed: Seed of all random numbers; None draws a seed.

    Raises:
        StrategyError: An argument is out of its range, or `update_kwargs` has an unknown key; or, when a trial is sampled, the
            study has several objectives or the space's check refused 1000 archs in a row.
    """

    one_objective = True
    settings: PolicyBasedRLSettings

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
        ppo = Ppo(learning_rate, *nni_update(update_kwargs, epochs, batch_size), clip, entropy_weight)
        buffer = samples_per_update if replay_buffer_size is None else replay_buffer_size
        self.settings = PolicyBasedRLSettings(samples_per_update, buffer, reward_for_invalid, hidden, ppo)
        self._policy = Policy(hidden, self.seed)
        self._episode = Episode(self._policy)
        self._learned: list[int] = []

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._catch_up(study)
        self._episode = Episode(self._policy)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        if state in (TrialState.COMPLETE, TrialState.FAIL):
            ended = (_ended(other) for other in study.get_trials(deepcopy=False))
            note_on_trial(study, trial, ENDED, max(ended, default=0) + 1)

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        return self.allowed(lambda: self.bound.arch_from(partial(self._drawn, Episode(self._policy))))

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Distribution) -> Any:
        if not isinstance(param_distribution, CategoricalDistribution):
            return super().sample_independent(study, trial, param_name, param_distribution)
        return self._category(self._episode, param_name, param_distribution)

    def _drawn(self, episode: Episode, choice: Choice) -> Any:
        return choice.from_category(self._category(episode, choice.label, distribution(choice)))

    def _category(self, episode: Episode, label: str, categories: CategoricalDistribution) -> Any:
        if categories.single():
            return categories.choices[0]
        return categories.choices[episode.sample(label, len(categories.choices), self._rng)]

    def _catch_up(self, study: Study) -> None:
        """Makes all updates of the policy for which the study has enough finished trials.

        Starts again from an untrained policy if the trials that it learned from are not those of this study.
        """
        settings, sign = self.settings, single_objective(study, self)
        states = (TrialState.COMPLETE,) if settings.reward_for_invalid is None else (TrialState.COMPLETE, TrialState.FAIL)
        trials = [trial for trial in study.get_trials(deepcopy=False, states=states) if _has_actions(trial)]
        # By their end, a trial that ends later never comes before one that was learned from, which would undo every update.
        # Not by their time, since the clock may be set back; only trials of earlier versions have nothing else.
        trials.sort(key=lambda trial: (_ended(trial), trial.datetime_complete or datetime.min, trial.number))
        if [trial.number for trial in trials[: len(self._learned)]] != self._learned or self._policy.seed != self.seed:
            self._policy, self._learned = Policy(settings.hidden, self.seed), []
        while len(self._learned) + settings.samples_per_update <= len(trials):
            end = len(self._learned) + settings.samples_per_update
            batch = trials[max(0, end - settings.replay_buffer_size) : end]
            settings.ppo.update(self._policy, list(map(_actions, batch)), [self._reward(trial, sign) for trial in batch])
            self._learned = [trial.number for trial in trials[:end]]

    def _reward(self, trial: FrozenTrial, sign: int) -> float:
        reward = trial.values[0] if trial.state is TrialState.COMPLETE else self.settings.reward_for_invalid
        assert reward is not None, "failed trials are learned from only with a reward_for_invalid"
        return sign * reward


def _ended(trial: FrozenTrial) -> int:
    """Returns the place of a trial, from 1, in the order in which trials ended; 0 where it is not known."""
    return int(trial.system_attrs.get(ENDED, 0))


def _actions(trial: FrozenTrial) -> Actions:
    return tuple(
        (label, len(categories.choices), int(categories.to_internal_repr(trial.params[label])))
        for label, categories in trial.distributions.items()
        if isinstance(categories, CategoricalDistribution) and not categories.single()
    )


def _has_actions(trial: FrozenTrial) -> bool:
    """Returns whether the policy can learn from a trial: it has a categorical parameter with several categories."""
    return any(isinstance(each, CategoricalDistribution) and not each.single() for each in trial.distributions.values())
