"""The space NASBERT: its rules, counts and random archs, and that padding changes nothing."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import torch

from hubserve.errors import ArchError, SpaceError
from hubserve.hub import NASBERT

SMALL = NASBERT(
    vocab_size=50, embedding_size=16, hidden_sizes=(16, 24, 32), head_dim=8, num_blocks=2, layers_per_block=3, max_length=12
)


def test_counts_are_exact():
    assert NASBERT(num_blocks=1).count() == 97_650 == 5 * sum(5**depth for depth in range(1, 7))
    assert NASBERT().count() == 97_650**4 == 90_926_189_348_006_250_000


def test_every_arch_is_in_the_grid_once():
    space = NASBERT(vocab_size=50, hidden_sizes=(64, 128), num_blocks=1, layers_per_block=2)
    archs = {tuple(space.grid_arch(i).items()) for i in range(space.count())}
    assert len(archs) == space.count() == 2 * (5 + 25)


def test_random_archs_are_equally_likely():
    """A block of depth d occurs as often as there are operations for it: 5, 25 and 125 of 155."""
    rng = Random(0)
    depths = Counter(SMALL.random(rng)["b1_depth"] for _ in range(3000))
    assert depths[3] / 3000 == pytest.approx(125 / 155, abs=0.03)
    assert depths[1] / 3000 == pytest.approx(5 / 155, abs=0.015)


def test_rules_hold_for_every_arch():
    """One hidden size in a block, and no layers behind the last: there is no such choice."""
    rng = Random(1)
    arch = SMALL.random(rng)
    for _ in range(50):
        arch = SMALL.mutate(arch, rng)
        assert SMALL.canonical(arch) == arch
        for b in (1, 2):
            assert sum(label.startswith(f"b{b}_op_") for label in arch) == arch[f"b{b}_depth"]
    with pytest.raises(ArchError, match="b1_hidden"):
        SMALL.validate(arch | {"b1_hidden": 64})


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_padding_changes_nothing(seed):
    torch.manual_seed(seed)
    model = SMALL.freeze(SMALL.random(Random(seed))).double().eval()
    (tokens,) = SMALL.example_inputs({"length": 12}, batch=4, seed=seed)
    together = model(tokens)
    for row, logits in zip(tokens, together, strict=True):
        alone = model(row[row != SMALL.pad_id][None])
        torch.testing.assert_close(alone[0], logits, rtol=0, atol=1e-12)


def test_only_padding_is_no_nan():
    model = SMALL.freeze(SMALL.random(Random(0))).eval()
    assert model(torch.full((1, 4), SMALL.pad_id)).isfinite().all()


def test_attention_finds_a_token():
    """The class is whether token 7 is in the sequence; the classifier reads the first token only."""
    torch.manual_seed(0)
    space = NASBERT(
        vocab_size=9, embedding_size=16, hidden_sizes=(16,), head_dim=8, num_blocks=1, layers_per_block=2, dropout=0
    )
    model = space.freeze({"b1_hidden": 16, "b1_depth": 2, "b1_op_0": "mha", "b1_op_1": "ffn"})
    classes = torch.arange(64) % 2
    tokens = torch.randint(2, 7, (64, 6))
    tokens[classes == 1, torch.randint(1, 6, (32,))] = 7
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(model(tokens), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model.eval()(tokens).argmax(1) == classes).float().mean() > 0.95


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_sizes": (100,)}, "multiples of head_dim = 64"),
        ({"hidden_sizes": (64, 64)}, "different multiples"),
        ({"hidden_sizes": ()}, "one at least"),
        ({"pad_id": 50265}, "pad_id = 50265"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"num_labels": 0}, "num_labels = 0"),
        ({"num_blocks": 0}, "num_blocks = 0"),
    ],
)
def test_settings_that_are_not_allowed(settings, message):
    with pytest.raises(SpaceError, match=message):
        NASBERT(**settings)
