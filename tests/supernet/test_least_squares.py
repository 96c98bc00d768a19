"""Linear fits from running sums, against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hubserve.supernet.least_squares import LeastSquares


def sums(inputs: torch.Tensor, targets: torch.Tensor) -> LeastSquares:
    found = LeastSquares(inputs.shape[1], targets.shape[1])
    for rows in torch.arange(len(inputs)).split(300):
        found.add(inputs[rows], targets[rows])
    return found


def data(rows: int = 1000, inputs: int = 12, useful: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inputs, generator=generator) + 2
    weight = torch.randn(inputs, 3, generator=generator)
    weight[useful:] = 0
    return x, x @ weight + torch.tensor([1.0, -2, 3]) + 0.1 * torch.randn(rows, 3, generator=generator)


def test_the_fit_of_numpy():
    x, y = data()
    fit = sums(x, y).fit(torch.zeros(12, 3))
    right, residuals, _, _ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]).astype(np.float64), y.numpy(), rcond=None)
    np.testing.assert_allclose(fit.weight.numpy(), right[:-1], rtol=3e-2, atol=3e-2)
    np.testing.assert_allclose(fit.bias.numpy(), right[-1], rtol=3e-2, atol=0.2)
    assert fit.error == pytest.approx(residuals.sum() / len(x), rel=0.2)
    fitted = x @ fit.weight.float() + fit.bias.float()
    torch.testing.assert_close(fit.mean.float(), fitted.mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fit.variance.float(), fitted.var(0), rtol=1e-2, atol=1e-3)


def test_inputs_that_say_nothing_are_left_out():
    x, y = data(useful=5)
    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    kept = sums(x[:, shuffled], y).most_useful(5)
    assert shuffled[kept].sort().values.tolist() == [0, 1, 2, 3, 4]


def test_the_inverse_is_brought_up_to_date_as_inputs_are_left_out():
    """Each step uses it: the errors of the inputs that stay must be those of fits that never saw the others."""
    x, y = data(inputs=60, useful=60)
    found = sums(x, y)
    kept = found.most_useful(20)
    chosen = found.of(kept).fit(torch.zeros(20, 3)).error
    generator = torch.Generator().manual_seed(2)
    drawn = [torch.randperm(60, generator=generator)[:20].sort().values for _ in range(50)]
    assert (len(kept), chosen) == (20, pytest.approx(sums(x[:, kept], y).fit(torch.zeros(20, 3)).error, rel=1e-6))
    assert chosen < min(found.of(indices).fit(torch.zeros(20, 3)).error for indices in drawn)


def test_an_input_that_is_always_zero():
    x, y = data()
    x[:, 3] = 0
    assert sums(x, y).fit(torch.zeros(12, 3)).weight[3].abs().max() < 1e-6
    assert 3 not in sums(x, y).most_useful(8).tolist()


def test_where_the_rows_are_too_few_the_weights_are_those_expected():
    x, y = data(rows=3)
    expected = torch.full((12, 3), 0.5)
    fit = sums(x, y).fit(expected)
    assert fit.error < 0.05
    unseen = torch.linalg.svd(x - x.mean(0)).Vh[2:].double()  # Directions in which the rows do not differ.
    torch.testing.assert_close(unseen @ fit.weight, unseen @ expected.double(), rtol=1e-3, atol=1e-3)
