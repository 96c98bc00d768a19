"""Statistics of batch norms, measured anew."""

from __future__ import annotations

import torch
from torch import nn

from hubserve.supernet import recalibrate_batch_norm


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.BatchNorm2d(4))


def batches(n: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(5, 3, 4, 4, generator=generator) + 2, torch.zeros(5)) for _ in range(n)]


def test_statistics_are_the_means_over_the_batches():
    model = make().eval()
    assert recalibrate_batch_norm(model, batches(3)) == 3
    with torch.no_grad():
        seen = [model[0](x) for x, _ in batches(3)]
    assert torch.allclose(model[1].running_mean, torch.stack([y.mean((0, 2, 3)) for y in seen]).mean(0), atol=1e-5)
    expected = torch.stack([y.var((0, 2, 3)) for y in seen]).mean(0)
    assert torch.allclose(model[1].running_var, expected, atol=1e-5)


def test_weights_and_modes_stay():
    model = make().train()
    model[2].eval()
    before = {key: p.clone() for key, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    recalibrate_batch_norm(model, batches(2))
    assert all(torch.equal(before[key], p) for key, p in model.named_parameters())
    assert [module.training for module in model.modules()] == modes
    assert model[1].momentum == 0.1


def test_takes_no_more_batches_than_asked():
    assert recalibrate_batch_norm(make(), batches(5), 2) == 2


def test_a_model_without_batch_norms_needs_none():
    assert recalibrate_batch_norm(nn.Linear(2, 2), batches(5)) == 0
