"""Drop path: whole samples, the mean kept, in training only."""

from __future__ import annotations

import pytest
import torch

from hubserve.blocks import DropPath, drop_path
from hubserve.errors import SpaceError

X = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(20_000,), (20_000, 2), (20_000, 1, 2, 2)])
def test_whole_samples_are_dropped_and_the_mean_stays(shape):
    torch.manual_seed(0)
    y = drop_path(torch.ones(shape), 0.25).flatten(1) if len(shape) > 1 else drop_path(torch.ones(shape), 0.25)[:, None]
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (y == y[:, :1]).all()
    # 20,000 coins: 0.02 is more than six deviations of the mean.
    assert abs(y.mean().item() - 1) < 0.02


def test_nothing_is_dropped_at_0():
    assert torch.equal(drop_path(X, 0.0), X)


class TestLayer:
    def test_is_nothing_outside_of_training(self):
        assert DropPath(0.5).eval()(X) is X
        assert DropPath()(X) is X

    def test_the_probability_may_change(self):
        torch.manual_seed(0)
        layer = DropPath()
        layer.prob = 0.5
        assert not torch.equal(layer(X.repeat(16, 1, 1, 1)), X.repeat(16, 1, 1, 1))

    def test_script(self):
        scripted = torch.jit.script(DropPath(0.3))
        torch.manual_seed(3)
        found = scripted(X)
        torch.manual_seed(3)
        torch.testing.assert_close(found, DropPath(0.3)(X))

    @pytest.mark.parametrize("prob", [1.0, -0.1, float("nan")])
    def test_all_cannot_be_dropped(self, prob):
        with pytest.raises(SpaceError, match=rf"prob = {prob} must lie in \[0, 1\)"):
            DropPath(prob)
