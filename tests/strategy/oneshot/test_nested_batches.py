"""Inputs that are a list, tuple or dict, and candidates that return one, in every one-shot strategy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from hubserve.errors import EvaluatorError, SupernetError
from hubserve.evaluator import Classification
from hubserve.experiment import NasExperiment
from hubserve.space import ModelSpace
from hubserve.strategy import DARTS, ENAS, GumbelDARTS, Proxyless, Random, RandomOneShot
from hubserve.supernet import BlendedSupernet, Supernet
from hubserve.supernet.blend import Blend, BlendContext
from hubserve.supernet.blended_layers import MixedLayer
from hubserve.training.evaluator import Trial
from tests.nested_inputs import KINDS, NESTS, Pairs, TwoInputs, two_tensors

STRATEGIES = {
    "DARTS": lambda: DARTS(),
    "DARTS of order 2": lambda: DARTS(order=2),
    "GumbelDARTS": lambda: GumbelDARTS(),
    "Proxyless": lambda: Proxyless(),
    "ENAS": lambda: ENAS(batches_per_update=2, final_samples=2),
    "RandomOneShot": lambda: RandomOneShot(),
    "sandwich": lambda: RandomOneShot(sandwich=1),
}


def evaluator(kind: str, **settings) -> Classification:
    data = Pairs(kind)
    loaders = {"train_dataloaders": data, "val_dataloaders": data}
    return Classification(**loaders, batch_size=4, max_epochs=1, accelerator="cpu", **settings)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_searches(strategy, kind):
    asked = evaluator(kind)
    result = STRATEGIES[strategy]().run(TwoInputs(), asked, device="cpu")
    assert all(math.isfinite(row["train_loss"]) for row in result.history)
    assert result.memory_bytes > 4 * sum(p.numel() * p.element_size() for p in result.supernet.parameters())
    arch = result.arch or {"width": 4, "op": "deep", "depth": 3}
    assert set(asked.validate(result.supernet.extract(arch))) == {"val_acc", "val_loss"}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("strategy", ["DARTS", "DARTS of order 2", "GumbelDARTS", "Proxyless"])
def test_candidates_return_tuples_and_dicts(strategy, nest):
    result = STRATEGIES[strategy]().run(TwoInputs(nest=nest), evaluator("tuple"), device="cpu")
    found = result.history[-1]["probabilities"]
    assert {"op", "depth"} <= set(found)
    assert found["op"].keys() == {"linear", "deep", "none"}
    assert result.supernet.extract(result.arch)(two_tensors(Pairs("tuple")[:3][0])).shape == (3, 4)


@pytest.mark.parametrize("nest", NESTS)
def test_a_blend_with_all_weight_on_one_candidate_is_that_candidate(nest):
    space = TwoInputs(nest=nest)
    net = BlendedSupernet(space, seed=0)
    x = (Pairs("tuple").left, Pairs("tuple").right)
    net.prove(x)
    assert {"op", "depth"} <= net.blended
    net.eval()
    for op in ("linear", "deep", "none"):
        for depth in (1, 3):
            arch = {"width": 8, "op": op, "depth": depth}
            blends = {label: Blend.only(space.choices[label], arch[label]) for label in net.blended}
            torch.testing.assert_close(net(x, blends, arch), net.supernet.subnet(arch).network.eval()(x))


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (lambda x: (x, x), "a tuple of 1 and a tuple of 2"),
        (lambda x: x, "a tuple of 1 and one Tensor"),
        (lambda x: {"x": x}, "a tuple of 1 and a dict of 'x'"),
        (lambda x: (x[:, :2],), r"different shapes, \(2, 4\) and \(2, 2\)"),
        (lambda x: (x > 0,), "no floating-point tensors"),
        (lambda x: (None,), "and None, which are no floating-point tensors"),
    ],
)
def test_candidates_that_cannot_be_added(other, found):
    class Returns(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x)

    context = BlendContext()
    layer = MixedLayer("op", [Returns(lambda x: (x,)), Returns(other)], context)
    context.begin({"op": Blend.all_of(torch.tensor([0.5, 0.5]))}, {})
    with pytest.raises(SupernetError, match=f"candidates of 'op' give .*{found}.*RandomOneShot or ENAS"):
        layer(torch.zeros(2, 4))


def test_a_supernet_is_searched_and_its_best_network_taken(tmp_path):
    experiment = NasExperiment(
        TwoInputs(), evaluator("dict"), RandomOneShot(), folder=tmp_path, max_trials=2, search_strategy=Random(seed=0), seed=0
    )
    experiment.run()
    assert [record.state for record in experiment.trials] == ["complete"] * 2
    assert set(evaluator("dict").validate(experiment.best_model())) == {"val_acc", "val_loss"}


@pytest.mark.parametrize("strategy", ["DARTS", "RandomOneShot"])
def test_batches_that_are_no_pairs_are_refused_before_training(strategy):
    batches = DataLoader([{"image": torch.zeros(4), "label": 1}] * 4, batch_size=2)
    asked = Classification(train_dataloaders=batches, val_dataloaders=batches, max_epochs=1, accelerator="cpu")
    with pytest.raises(EvaluatorError, match=r"a batch is a dict of 'image', 'label' and must be a pair.*collate_fn"):
        STRATEGIES[strategy]().run(TwoInputs(), asked)


@pytest.mark.slow
@pytest.mark.xdist_group("ddp")
def test_two_processes_train_on_nested_inputs():
    asked = evaluator("nested", devices=2)
    scores = asked.evaluate(TwoInputs(nest="dict"), {"width": 8, "op": "deep", "depth": 1}, Trial())
    result = RandomOneShot().run(TwoInputs(nest="dict"), asked, device="cpu")
    assert math.isfinite(scores["val_loss"] + result.history[-1]["train_loss"])


class Sequences(nn.Module):
    """Recurrent layers, which return a pair of tensors, and attentions, which return a tensor and None."""

    def __init__(self, pick):
        super().__init__()
        size = pick("size", (4, 8))
        cells = {"gru": lambda: nn.GRU(4, size, batch_first=True), "rnn": lambda: nn.RNN(4, size, batch_first=True)}
        self.cell = pick.layer("cell", cells)
        heads = {str(n): lambda n=n: nn.MultiheadAttention(size, n, batch_first=True) for n in (1, 2)}
        self.attention = pick.layer("heads", heads)
        self.head = nn.Linear(size, 4)

    def forward(self, x):
        y, state = self.cell(x[0])
        y, weights = self.attention(y, y, value=y, need_weights=False)
        assert weights is None
        return self.head(y.mean(1) + state[0])


@dataclass(frozen=True)
class Recurrent(ModelSpace):
    def build(self, pick):
        return Sequences(pick)


@pytest.mark.parametrize("strategy", ["DARTS", "GumbelDARTS", "Proxyless", "RandomOneShot"])
def test_layers_of_torch_that_return_a_pair(strategy):
    data = [([torch.randn(5, 4)], i % 4) for i in range(8)]
    loader = DataLoader(data, batch_size=4)
    asked = Classification(train_dataloaders=loader, val_dataloaders=loader, max_epochs=2, accelerator="cpu")
    result = STRATEGIES[strategy]().run(Recurrent(), asked, seed=0, device="cpu")
    first, last = Supernet(Recurrent(), seed=0).state_dict(), result.supernet.state_dict()
    recurrent = [key for key in first if "weight_hh" in key]
    assert len(recurrent) == 2
    assert not all(torch.equal(first[key], last[key]) for key in recurrent)
    arch = result.arch or {"size": 4, "cell": "gru", "heads": "2"}
    x = [torch.randn(3, 5, 4)]
    torch.testing.assert_close(result.supernet.extract(arch)(x), result.supernet.subnet(arch).network.eval()(x))
