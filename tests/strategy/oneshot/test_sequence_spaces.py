"""One matrix: NASBERT and LightSpeech under every one-shot strategy, and what the trained supernets promise, in float64."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hubserve.errors import StrategyError
from hubserve.space import ModelSpace
from hubserve.strategy import DARTS, ENAS, GumbelDARTS, Penalty, Proxyless, RandomOneShot, RangeFilter
from hubserve.supernet import Supernet
from hubserve.training.evaluator import Objective
from tests.hub.test_lightspeech import SMALL as SPEECH
from tests.hub.test_nasbert import SMALL as TEXT
from tests.marks import slow_but
from tests.strategy.oneshot.data import Noise

STRATEGIES = {
    "DARTS": lambda: DARTS(),
    "DARTS of order 2": lambda: DARTS(order=2),
    "GumbelDARTS": lambda: GumbelDARTS(),
    "Proxyless": lambda: Proxyless(),
    "ENAS": lambda: ENAS(batches_per_update=2, final_samples=2),
    "RandomOneShot": lambda: RandomOneShot(),
    "sandwich": lambda: RandomOneShot(sandwich=1),
}

QUICK = {"Proxyless", "ENAS", "RandomOneShot"}
"""One of each kind: those that blend candidates, that learn a policy, and that only train; the others are slow tests."""

LEARNED = ("DARTS", "DARTS of order 2", "GumbelDARTS", "Proxyless")
"""Those that learn a probability of each candidate."""


class Texts(Noise):
    """Labelled sequences of tokens, some of them padded."""

    def __init__(self) -> None:
        super().__init__(batches=2)
        self.batches = [
            (TEXT.example_inputs({"length": 7}, batch=4, seed=i)[0], torch.randint(TEXT.num_labels, (4,)))
            for i in range(2 * self.n_train)
        ]


class Speech(Noise):
    """Phonemes with the phoneme of each frame, and what a network in train mode returns for them."""

    objectives = (Objective("val_loss", "minimize"),)

    def __init__(self) -> None:
        super().__init__(batches=2)
        self.batches = [self._batch(i) for i in range(2 * self.n_train)]

    def _batch(self, seed: int) -> Any:
        (tokens,) = SPEECH.example_inputs({"length": 5}, batch=4, seed=seed)
        durations = (tokens > 0) * (tokens % 3 + 1)
        ends = durations.cumsum(1)
        frames = torch.arange(int(ends.max()))
        mel2ph = ((frames[None, :, None] >= ends[:, None]).sum(-1) + 1) * (frames < ends[:, -1:])
        mel = torch.randn(4, len(frames), SPEECH.mel_bins, generator=torch.Generator().manual_seed(seed))
        return (tokens, mel2ph), (mel, torch.log1p(durations.float()))

    def loss(self, output: Any, target: Any) -> Tensor:
        mel, durations = target
        return functional.l1_loss(output[0], mel) + functional.mse_loss(output[1], durations)

    def distillation_loss(self, output: Any, teacher: Any) -> Tensor:
        return self.loss(output, teacher[:2])

    @torch.no_grad()
    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        model.eval()
        return {"val_loss": float(sum(functional.l1_loss(model(x)[0], mel) for x, (mel, _) in self.val_batches()))}


CASES: dict[str, tuple[ModelSpace, type[Noise]]] = {"NASBERT": (TEXT, Texts), "LightSpeech": (SPEECH, Speech)}


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("strategy", slow_but(STRATEGIES, QUICK))
def test_searches(strategy, name):
    space, data = CASES[name]
    evaluator = data()
    result = STRATEGIES[strategy]().run(space, evaluator, device="cpu")
    assert len(result.history) == evaluator.n_train
    assert all(math.isfinite(row["train_loss"]) for row in result.history)
    assert not result.stopped
    assert result.memory_bytes > 4 * sum(p.numel() * p.element_size() for p in result.supernet.parameters())
    assert trained(result.supernet, space)
    found = [space.random(Random(seed)) for seed in range(2)]
    if isinstance(STRATEGIES[strategy](), RandomOneShot):
        assert result.arch is None
    else:
        assert space.canonical(result.arch) == result.arch
        found.append(result.arch)
    for arch in found:
        check_networks(result.supernet.double(), space, arch, evaluator.batches[0][0])
    if strategy in LEARNED:
        row = result.history[-1]
        assert row["probabilities"].keys() == set(space.choices)
        for label, probabilities in row["probabilities"].items():
            assert list(probabilities) == [str(candidate) for candidate in space.choices[label].candidates]
            assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-5)


def trained(supernet: Supernet, space: ModelSpace) -> bool:
    """Whether the weights differ from those with which a supernet begins."""
    fresh = Supernet(space, seed=0).state_dict()
    return any(not torch.equal(tensor, fresh[key]) for key, tensor in supernet.state_dict().items() if key in fresh)


@torch.no_grad()
def check_networks(supernet: Supernet, space: ModelSpace, arch: dict[str, Any], x: Any) -> None:
    """A subnet, the extracted network and a frozen one with its weights compute the same, bit for bit."""
    alone = supernet.eval().extract(arch)
    frozen = space.freeze(arch).double().eval()
    frozen.load_state_dict(alone.state_dict())
    expected = first(frozen(x))
    assert expected.dtype == torch.float64
    assert torch.isfinite(expected).all()
    assert torch.equal(first(alone(x)), expected)
    assert torch.equal(first(supernet(x, arch)), expected)
    assert torch.equal(first(supernet.subnet(arch).network(x)), expected)


@pytest.mark.parametrize("strategy", slow_but(["DARTS", "ENAS"], {"ENAS"}))
def test_a_penalty_counts_the_work_of_a_text(strategy):
    penalty = Penalty("macs", baseline=1e6, scale=0.1)
    made = DARTS(penalty=penalty) if strategy == "DARTS" else ENAS(batches_per_update=2, final_samples=2, penalty=penalty)
    result = made.run(TEXT, Texts(), device="cpu")
    assert all(math.isfinite(row["val_loss"]) for row in result.history)
    assert (result.cost_r2 is not None) == (strategy == "DARTS")


@pytest.mark.parametrize(
    "made",
    [
        lambda: DARTS(penalty=Penalty("macs", baseline=1e6)),
        lambda: ENAS(penalty=Penalty("macs", baseline=1e6)),
        lambda: RandomOneShot(filter=RangeFilter("macs", max=1e9)),
    ],
)
def test_costs_of_several_inputs_are_refused_with_a_way_on(made):
    with pytest.raises(StrategyError, match="costs are counted for inputs that are one tensor; give a function of an arch"):
        made().run(SPEECH, Speech(), device="cpu")


def test_a_function_of_an_arch_is_a_cost_of_speech():
    def cost(arch: dict[str, Any]) -> float:
        return sum(float(value == "ffn") for value in arch.values())

    result = RandomOneShot(filter=RangeFilter(cost, max=0)).run(SPEECH, Speech(), device="cpu")
    assert len(result.history) == 2
