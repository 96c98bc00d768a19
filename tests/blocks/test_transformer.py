"""Tokens, positions, and the encoder layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.transformer import ClassToken, EncoderLayer, PositionEmbedding
from hubserve.errors import SpaceError


def test_class_token_comes_first():
    token, x = ClassToken(4), torch.randn(3, 5, 4)
    y = token(x)
    assert torch.equal(y[:, 1:], x)
    assert torch.equal(y[:, 0], token.cls_token[0].expand(3, 4))
    assert list(token.state_dict()) == ["cls_token"]


def test_positions_are_added():
    positions, x = PositionEmbedding(5, 4), torch.randn(3, 5, 4)
    assert torch.equal(positions(x) - x, (x + positions.pos_embed) - x)
    assert positions.pos_embed.shape == (1, 5, 4)
    assert list(positions.state_dict()) == ["pos_embed"]


class TestEncoderLayer:
    @pytest.fixture
    def x(self):
        return torch.randn(64, 3, 8)

    @pytest.mark.parametrize("pre_norm", [True, False])
    def test_formula(self, x, pre_norm):
        layer = EncoderLayer(nn.Linear(8, 8), 8, 20, pre_norm=pre_norm)
        nn.init.normal_(layer.attn_layer_norm.weight)
        nn.init.normal_(layer.ffn_layer_norm.bias)

        def transform(t):
            return layer.fc2(functional.gelu(layer.fc1(t)))

        if pre_norm:
            middle = x + layer.attn(layer.attn_layer_norm(x))
            expected = middle + transform(layer.ffn_layer_norm(middle))
        else:
            middle = layer.attn_layer_norm(x + layer.attn(x))
            expected = layer.ffn_layer_norm(middle + transform(middle))
        torch.testing.assert_close(layer(x), expected)

    def test_drop_path_lets_whole_samples_pass_in_training_only(self, x):
        torch.manual_seed(0)
        layer = EncoderLayer(nn.Linear(8, 8), 8, 20, drop_path_prob=0.5)
        passed = (layer(x) == x).flatten(1).all(1).sum()
        assert 6 <= passed <= 28  # 64 samples, each with probability 1/4.
        assert not (layer.eval()(x) == x).flatten(1).all(1).any()

    def test_dropout_is_after_attention_and_both_linear_layers(self, x):
        layer = EncoderLayer(nn.Identity(), 8, 20, dropout=1.0)
        assert torch.equal(layer(x), x)
        with torch.no_grad():
            layer.fc2.bias.fill_(7.0)
        assert torch.equal(layer(x), x)

    @pytest.mark.parametrize(("hidden", "prob"), [(0, 0.0), (4, 1.0), (4, -0.1)])
    def test_senseless_numbers(self, hidden, prob):
        with pytest.raises(SpaceError, match="hidden >= 1 and 0 <= drop_path_prob < 1"):
            EncoderLayer(nn.Identity(), 8, hidden, drop_path_prob=prob)
