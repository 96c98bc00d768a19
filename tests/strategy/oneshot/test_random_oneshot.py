"""Paths are uniform, filters hold, and the supernet is searched afterwards."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import optuna
import pytest
import torch
from torch.utils.data import TensorDataset

from hubserve.errors import StrategyError
from hubserve.evaluator import Classification
from hubserve.jobs.search_job import StrategyEntry
from hubserve.pipeline.strategies import make_searchers
from hubserve.strategy import RandomOneShot, RangeFilter, RegularizedEvolution, SupernetEvaluator, suggest_arch
from hubserve.strategy.oneshot import extract
from hubserve.strategy.oneshot.arch_costs import MeasuredCost
from hubserve.strategy.oneshot.weight_training import WeightTraining
from hubserve.supernet import Supernet
from hubserve.supernet.extreme_archs import smallest_arch
from hubserve.training.evaluator import Trial
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import SIZE, TINY, Small, images


def search_on(space, strategy=None):
    search = (strategy or RandomOneShot()).search(space, Noise(), seed=0, total_steps=1)
    search.prepare(Noise().batches[0][0])
    search.begin(0, iter(()))
    return search


def test_candidates_are_drawn_equally_often():
    """Chi-square over the 30 candidates of NasBench201's six edges; 24 degrees of freedom, 0.999 quantile 51.18."""
    search, n = search_on(TINY["NasBench201"]), 3000
    counts = Counter((label, answer) for _ in range(n) for label, answer in search.draw().items())
    statistic = sum(
        (counts[(label, op)] - n / 5) ** 2 / (n / 5) for label, c in TINY["NasBench201"].choices.items() for op in c.candidates
    )
    assert statistic < 51.18


def test_edges_are_drawn_independently():
    """Chi-square over the 25 pairs of two edges; 16 degrees of freedom, 0.999 quantile 39.25."""
    search, n = search_on(TINY["NasBench201"]), 2500
    counts = Counter((arch["cell/0_1"], arch["cell/2_3"]) for arch in (search.draw() for _ in range(n)))
    assert len(counts) == 25
    assert sum((count - n / 25) ** 2 / (n / 25) for count in counts.values()) < 39.25


def test_a_filter_holds_for_each_path():
    space = TINY["NasBench201"]
    cost = MeasuredCost("params", space, (3, SIZE, SIZE))
    low, high = sorted(cost(space.random(Random(seed))) for seed in range(9))[3:6:2]
    search = search_on(space, RandomOneShot({"profiler": "params", "min": low, "max": high}))
    assert all(low <= cost(search.draw()) <= high for _ in range(20))
    by_function = search_on(space, RandomOneShot(lambda arch: arch["cell/0_1"] == "none"))
    assert all(by_function.draw()["cell/0_1"] == "none" for _ in range(20))


@pytest.mark.slow
def test_a_filter_that_refuses_everything_says_so():
    with pytest.raises(StrategyError, match="refused 100 archs in a row"):
        RandomOneShot(RangeFilter("macs", max=1)).run(TINY["NasBench201"], Noise(), device="cpu")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"profiler": "macs"}, "give min, max"),
        ({"profiler": "macs", "most": 1}, "'most'"),
        ({"profiler": "flops", "max": 1}, "flops"),
    ],
)
def test_senseless_filters_are_refused(given, match):
    with pytest.raises(StrategyError, match=match):
        RandomOneShot(given).run(TINY["NasBench201"], Noise(), device="cpu")


def test_a_step_moves_the_weights_of_its_path_only():
    search, evaluator = search_on(TINY["NasBench201"]), Noise()
    before = {key: p.detach().clone() for key, p in search.supernet.tensors.named_parameters()}
    search.draw = lambda: dict.fromkeys(TINY["NasBench201"].choices, "conv_3x3")
    search.step(*evaluator.batches[0])
    moved = {key for key, p in search.supernet.tensors.named_parameters() if not torch.equal(p, before[key])}
    assert any("conv_3x3" in key for key in moved)
    assert not any("conv_1x1" in key for key in moved)


def test_a_loss_that_is_no_number_ends_the_run():
    class Broken(Noise):
        def loss(self, output, target):
            return super().loss(output, target) * math.nan

    with pytest.raises(StrategyError, match="training loss is nan"):
        RandomOneShot().run(Small(), Broken(), device="cpu")


class TestTheSupernetAfterwards:
    def test_a_multi_trial_strategy_searches_it(self, tmp_path):
        space, evaluator = Small(), Noise()
        result = RandomOneShot().run(space, evaluator, device="cpu")
        shared = SupernetEvaluator(result.supernet, evaluator)
        assert shared.objectives == evaluator.objectives
        strategy = RegularizedEvolution(population_size=4, seed=0)
        strategy.bind(space)
        study = optuna.create_study(direction="maximize", sampler=strategy)
        study.optimize(
            lambda trial: shared.evaluate(space, suggest_arch(trial, space), Trial(folder=tmp_path / str(trial.number)))[
                "accuracy"
            ],
            n_trials=8,
        )
        assert 0.0 <= study.best_value <= 1.0
        assert (tmp_path / "7" / "weights.safetensors").exists()

    def test_extraction_measures_batch_norms_and_tells_before_and_after(self):
        space, evaluator = TINY["NasBench201"], Noise()
        result = RandomOneShot().run(space, evaluator, device="cpu")
        arch = dict.fromkeys(space.choices, "conv_3x3")
        weights = result.supernet.extract(arch).state_dict()
        found = extract(result.supernet, arch, evaluator, compare=True)
        assert found.batches == 2
        assert found.before.keys() == found.after.keys() == {"accuracy"}
        for key, tensor in found.model.state_dict().items():
            is_statistic = "running" in key or key.endswith("num_batches_tracked")
            assert torch.equal(tensor, weights[key]) != is_statistic or key.endswith("num_batches_tracked"), key
        again = result.supernet.extract(arch).state_dict()
        assert all(torch.equal(again[key], weights[key]) for key in weights)

    def test_what_augmentation_draws_is_of_the_seed(self):
        class Augmented(Noise):
            def train_batches(self, seed):
                return ((x + torch.randn_like(x), target) for x, target in super().train_batches(seed))

        space, evaluator = TINY["NasBench201"], Augmented()
        supernet = Supernet(space)
        arch = dict.fromkeys(space.choices, "conv_3x3")

        def statistics(seed: int, **settings):
            model = extract(supernet, arch, evaluator, seed=seed, **settings).model
            return torch.cat([buffer.flatten() for name, buffer in model.named_buffers() if "running" in name])

        torch.manual_seed(0)
        first = statistics(1)
        expected = torch.rand(1)
        torch.manual_seed(0)
        assert torch.equal(torch.rand(1), expected)
        assert torch.equal(statistics(1), first)
        assert torch.equal(statistics(1, compare=True), first)
        assert not torch.equal(statistics(2), first)

    def test_statistics_that_fit_no_network_fail_no_trial(self):
        space = TINY["NasBench201"]
        data = TensorDataset(images(8), torch.arange(8))
        evaluator = Classification(train_dataloaders=data, val_dataloaders=data, batch_size=4)
        supernet = Supernet(space)
        for name, buffer in supernet.named_buffers():
            if "running_mean" in name:
                buffer.fill_(math.nan)
        arch = dict.fromkeys(space.choices, "conv_3x3")
        found = extract(supernet, arch, evaluator, compare=True)
        assert found.before == {}
        assert math.isfinite(found.after["val_loss"])
        scores = SupernetEvaluator(supernet, evaluator, compare=True).evaluate(space, arch, Trial())
        assert scores == found.after


class TestTheSandwich:
    @pytest.mark.parametrize("wrong", [-1, 1.5, True])
    def test_its_number_of_archs_is_checked(self, wrong):
        with pytest.raises(StrategyError, match="sandwich = "):
            RandomOneShot(sandwich=wrong)

    def test_all_its_networks_learn(self):
        """With a single batch the smallest network's loss falls, too: from the targets, the largest network, or both."""
        space, evaluator = TINY["MobileNetV3Space"], Noise(batches=1, epochs=8)
        smallest = smallest_arch(space)

        def loss(supernet):
            x, target = evaluator.batches[0]
            with torch.no_grad():
                return float(evaluator.loss(supernet.train().subnet(smallest).network(x), target))

        for distill, separate_steps in [(False, False), (True, False), (0.5, True), (1, True)]:
            strategy = RandomOneShot(sandwich=1, distill=distill, separate_steps=separate_steps)
            result = strategy.run(space, evaluator, device="cpu")
            assert result.arch is None
            assert loss(result.supernet) < loss(Supernet(space))

    @pytest.mark.parametrize("distill", [-0.1, 1.5, math.nan])
    def test_the_share_of_distillation_is_checked(self, distill):
        with pytest.raises(StrategyError, match="distill = "):
            RandomOneShot(sandwich=1, distill=distill)

    @pytest.mark.parametrize(("separate_steps", "expected"), [(True, 3), (False, 1)])
    def test_each_network_may_take_a_step_of_its_own(self, monkeypatch, separate_steps, expected):
        """The learning rate follows the batches all the same."""
        taken, ends, step = [], [], WeightTraining.step_shared
        monkeypatch.setattr(WeightTraining, "step_shared", lambda self: taken.append(self.learning_rate) or step(self))
        strategy = RandomOneShot(sandwich=1, separate_steps=separate_steps)
        strategy.run(Small(), Noise(batches=5, epochs=1), device="cpu", on_step=lambda row: ends.append(len(taken)))
        per_batch = [taken[end - expected : end] for end in ends]
        assert len(taken) == expected * len(ends)
        assert all(len(set(batch)) == 1 for batch in per_batch)
        assert len({batch[0] for batch in per_batch}) == len(ends)

    def test_a_job_names_it(self):
        entry = StrategyEntry.model_validate(
            {"name": "RandomOneShot", "arguments": {"sandwich": 2}, "then": {"name": "Random"}}
        )
        assert make_searchers(entry, seed=0).first == RandomOneShot(sandwich=2)
