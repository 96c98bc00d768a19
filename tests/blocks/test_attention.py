"""Attention with relative positions equals the formula with all pairs laid out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.attention import RelativePosition2D, RelativePositionAttention, fresh_parameter
from hubserve.errors import SpaceError
from hubserve.space import ModelSpace

GRIDS = [((3, 5), 2), ((4, 2), 14), ((1, 1), 1), ((2, 2), 1)]
"""(rows and columns, max_distance); with and without distances that are cut off."""


def laid_out(relative: RelativePosition2D, rows: int, columns: int) -> torch.Tensor:
    """The vector of each pair of tokens, pair by pair: (tokens, tokens, dim)."""
    reach = relative.max_distance

    def vector(query: int, key: int) -> torch.Tensor:
        if 0 in (query, key):
            return relative.embeddings_table_v[0] + relative.embeddings_table_h[0]
        (query_row, query_column), (key_row, key_column) = divmod(query - 1, columns), divmod(key - 1, columns)
        down = max(-reach, min(reach, key_row - query_row)) + reach + 1
        right = max(-reach, min(reach, key_column - query_column)) + reach + 1
        return relative.embeddings_table_v[down] + relative.embeddings_table_h[right]

    tokens = range(1 + rows * columns)
    return torch.stack([torch.stack([vector(query, key) for key in tokens]) for query in tokens])


def by_the_formula(attention: RelativePositionAttention, x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    q, k, v = (layer(x).unflatten(2, (attention.n_heads, -1)) for layer in (attention.q, attention.k, attention.v))
    keys, values = laid_out(attention.rel_pos_embed_k, *grid), laid_out(attention.rel_pos_embed_v, *grid)
    scores = torch.einsum("bihd,bjhd->bhij", q, k) + torch.einsum("bihd,ijd->bhij", q, keys)
    weights = functional.dropout((scores * attention.scale).softmax(3), attention.attn_drop.p, attention.training)
    heads = torch.einsum("bhij,bjhd->bihd", weights, v) + torch.einsum("bhij,ijd->bihd", weights, values)
    return attention.proj(heads.flatten(2))


def make(grid: tuple[int, int] = (3, 5), **settings: object) -> RelativePositionAttention:
    attention = RelativePositionAttention(12, 3, grid=grid, head_dim=4, **settings).double()
    for name, parameter in attention.named_parameters():
        if "table" in name:
            nn.init.normal_(parameter)
    return attention


def tokens(grid: tuple[int, int], batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 1 + grid[0] * grid[1], 12, dtype=torch.float64)


@pytest.mark.parametrize(("grid", "max_distance"), GRIDS)
class TestFormula:
    def test_output(self, grid, max_distance):
        attention, x = make(grid, max_distance=max_distance), tokens(grid)
        torch.testing.assert_close(attention(x), by_the_formula(attention, x, grid), rtol=1e-11, atol=1e-13)

    def test_gradients(self, grid, max_distance):
        attention, x = make(grid, max_distance=max_distance), tokens(grid)
        weights = torch.randn_like(x)
        ours, theirs = (
            torch.autograd.grad((y * weights).sum(), list(attention.parameters()), allow_unused=True)
            for y in (attention(x), by_the_formula(attention, x, grid))
        )
        for (name, parameter), found, expected in zip(attention.named_parameters(), ours, theirs, strict=True):
            found = torch.zeros_like(parameter) if found is None else found
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}")

    def test_dropped_weights_are_dropped_for_relative_values_too(self, grid, max_distance):
        attention, x = make(grid, max_distance=max_distance, attn_drop=0.4).train(), tokens(grid)
        torch.manual_seed(0)
        found = attention(x)
        torch.manual_seed(0)
        torch.testing.assert_close(found, by_the_formula(attention, x, grid), rtol=1e-11, atol=1e-13)


def test_without_relative_positions_it_is_torch_s_attention():
    attention, x = make(relative=False, qk_scale=0.3), tokens((3, 5))
    q, k, v = (layer(x).unflatten(2, (3, 4)).transpose(1, 2) for layer in (attention.q, attention.k, attention.v))
    heads = functional.scaled_dot_product_attention(q, k, v, scale=0.3)
    torch.testing.assert_close(attention(x), attention.proj(heads.transpose(1, 2).flatten(2)))
    assert not any("rel_pos" in key for key in attention.state_dict())


def test_tensors_have_nni_s_names():
    tables = [f"rel_pos_embed_{of}.embeddings_table_{way}" for of in "kv" for way in "vh"]
    layers = [f"{layer}.{tensor}" for layer in ("q", "k", "v", "proj") for tensor in ("weight", "bias")]
    assert list(make().state_dict()) == [*layers, *tables]
    assert list(make(qkv_bias=False).state_dict()) == ["q.weight", "k.weight", "v.weight", *layers[-2:], *tables]


class TestSmallParts:
    def test_vectors_of_pairs(self):
        relative = RelativePosition2D(1, max_distance=2)
        with torch.no_grad():
            relative.embeddings_table_v.copy_(torch.tensor([[100.0], [-2], [-1], [0], [1], [2]]))
            relative.embeddings_table_h.copy_(torch.tensor([[23.0], [-20], [-10], [0], [10], [20]]))
        by_row, by_column, with_class = relative(4, 2)
        assert by_row.squeeze(2).tolist() == [[0, 1, 2, 2], [-1, 0, 1, 2], [-2, -1, 0, 1], [-2, -2, -1, 0]]
        assert by_column.squeeze(2).tolist() == [[0, 10], [-10, 0]]
        assert with_class.tolist() == [123]

    def test_tables_start_normal(self):
        torch.manual_seed(0)
        table = fresh_parameter(400, 64).detach()
        assert table.std() == pytest.approx(0.02, rel=0.02)
        assert table.abs().max() > 0.06

    def test_nothing_is_drawn_on_the_meta_device(self):
        before = torch.get_rng_state()
        with torch.device("meta"):
            assert all(tensor.is_meta for tensor in make().state_dict().values())
        assert torch.equal(torch.get_rng_state(), before)


class TestExport:
    def test_script(self):
        attention, x = make().eval(), tokens((3, 5), batch=4)
        torch.testing.assert_close(torch.jit.script(attention)(x), attention(x))

    def test_export_with_a_dynamic_batch(self):
        attention = make().eval()
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(attention, (tokens((3, 5)),), dynamic_shapes=({0: batch},))
        x = tokens((3, 5), batch=5)
        torch.testing.assert_close(program.module()(x), attention(x))


@dataclass(frozen=True)
class OneLayer(ModelSpace):
    """A space of one's own."""

    def build(self, pick):
        return RelativePositionAttention(8, pick("heads", (1, 2, 4)), grid=(2, 2), head_dim=pick("head_dim", (2, 4)))


def test_in_a_space_of_one_s_own():
    space = OneLayer()
    assert space.count() == 6
    for index in range(6):
        assert space.freeze(space.grid_arch(index))(torch.zeros(3, 5, 8)).shape == (3, 5, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_heads": 0}, "n_heads"),
        ({"grid": (0, 3)}, r"\(0, 3\)"),
        ({"head_dim": 0}, "head_dim"),
        ({"max_distance": 0}, "max_distance >= 1"),
    ],
)
def test_senseless_numbers(settings, message):
    with pytest.raises(SpaceError, match=message):
        RelativePositionAttention(**{"dim": 8, "n_heads": 2, "grid": (2, 2), **settings})
