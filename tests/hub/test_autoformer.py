"""AutoFormer: the space, its subnets and its supernets equal NNI's."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from hubserve.blocks.transformer import EncoderLayer
from hubserve.errors import ArchError, CardError, KeyFormatError, SpaceError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.torchscript import export_torchscript
from hubserve.hub.autoformer import PRESETS, AutoFormer
from hubserve.hub.autoformer_cards import SUPERNETS, supernet_card
from hubserve.hub.autoformer_supernet import check_supernet, slice_supernet
from hubserve.hub.key_formats import convert
from hubserve.hub.nasbench101 import NasBench101
from hubserve.hub.pretrained import load_weights
from hubserve.hub.registry import load_model
from hubserve.weights_warning import WeightsWarning
from tests.export.matrix import assert_exports
from tests.hub.parity import assert_equals_fixture, fill, filling, fixture_input
from tests.marks import slow_but

SMALL = {"search_embed_dim": (16, 24), "search_num_heads": (1, 2), "search_depth": (1, 2, 3), "img_size": 32, "num_labels": 10}
"""Settings of a space whose networks are quick to run."""


@pytest.fixture
def read(shared):
    return lambda path: json.loads((shared / "parity" / f"{path}.json").read_text())


class TestSpace:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_preset_is_nni_s(self, read, preset):
        fixture = read("spaces/AutoFormer" + ("" if preset == "tiny" else f"-preset-{preset}"))
        space = AutoFormer.preset(preset)
        assert space == AutoFormer(**fixture["constructor_kwargs"])
        assert [[c.label, list(c.candidates)] for c in space.choices.values()] == [
            [mutable["label"], mutable["values"]] for mutable in fixture["mutables"]
        ]
        assert space.count() == int(fixture["distinct_architecture_count"])

    def test_tiny_is_the_default(self):
        assert AutoFormer.preset("tiny") == AutoFormer()

    def test_other_settings_of_a_preset(self):
        space = replace(AutoFormer.preset("small"), num_labels=10, img_size=32, patch_size=8)
        assert space.input_size == 32
        model = space.freeze(space.random(Random(0))).eval()
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)

    @pytest.mark.parametrize("name", ["AutoFormer-0", "AutoFormer-1"])
    def test_networks(self, read, name):
        fixture = read(f"dev/{name}")
        assert_equals_fixture(AutoFormer().freeze(fixture["arch"]), fixture)

    def test_layers_a_shallow_network_does_not_have_are_not_asked_for(self):
        space = AutoFormer(**SMALL)
        arch = space.canonical(
            {"embed_dim": 16, "depth": 1, **{f"{n}_{i}": v for i in range(3) for n, v in (("num_head", 2), ("mlp_ratio", 4.0))}}
        )
        assert arch == {"embed_dim": 16, "depth": 1, "num_head_0": 2, "mlp_ratio_0": 4.0}


@pytest.mark.parametrize("form", ["subnet", "supernet"])
@pytest.mark.parametrize("preset", slow_but(PRESETS, {"tiny"}))
def test_pre_searched_models_equal_nni(read, preset, form):
    """Three retrained subnets, and three supernets from which the same subnets inherit."""
    space = AutoFormer.preset(preset)
    subnet = read(f"aliases/autoformer-{preset}-subnet")
    assert_equals_layers(space.freeze(subnet["arch"]), subnet)
    if form == "subnet":
        assert_equals_fixture(space.freeze(subnet["arch"]), subnet)
        return
    fixture = read(f"aliases/autoformer-{preset}-supernet")
    state = supernet_state(fixture["state_dict"])
    assert sum(tensor.numel() for tensor in state.values()) == fixture["num_params"]
    inherited = slice_supernet(state, space, subnet["arch"])
    assert [[key, list(tensor.shape)] for key, tensor in inherited.items()] == subnet["state_dict"]
    model = space.freeze(subnet["arch"]).eval()
    model.load_state_dict(inherited)
    with torch.no_grad():
        logits = model.double()(fixture_input([2, 3, 224, 224]).double()).numpy()
    for row, expected in zip(logits, fixture["weight_inheritance_logits_float64"], strict=True):
        np.testing.assert_allclose(row[:16], expected["first16"], rtol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(row), expected["l2"], rtol=1e-9)
        assert row.argmax() == expected["argmax"]


def assert_equals_layers(model: nn.Module, fixture: dict) -> None:
    """Norms, and the drop path of each layer, which no tensor and no logit shows."""
    assert sorted({m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)}) == fixture["layernorm_eps"]
    expected = [args.get("drop_prob", 0.0) for path, _, args in fixture["leaf_modules"] if path.endswith("drop_path")]
    found = [m.drop_path_prob for m in model.modules() if isinstance(m, EncoderLayer)]
    assert found == pytest.approx(expected, rel=1e-6)


def supernet_state(shapes: list) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(filling(key, tuple(shape), 2.0)) for key, shape in shapes}


class TestSettings:
    @pytest.mark.parametrize(
        "settings",
        [
            {"rpe": False},
            {"pre_norm": False},
            {"global_pooling": False},
            {"absolute_position": False},
            {"qkv_bias": False},
            {"qk_scale": 0.5},
            {"in_channels": 1},
        ],
    )
    def test_each_changes_the_network(self, settings):
        def answer(space: AutoFormer) -> tuple[list[str], torch.Tensor]:
            model = space.freeze(space.random(Random(0))).eval()
            fill(model, 2.0)
            with torch.no_grad():
                return list(model.state_dict()), model(torch.ones(1, space.in_channels, 32, 32))

        (keys, logits), (changed_keys, changed) = answer(AutoFormer(**SMALL)), answer(AutoFormer(**SMALL, **settings))
        assert not torch.allclose(logits, changed)
        named = {"rpe": "rel_pos", "pre_norm": "norm.", "absolute_position": "pos_embed.pos_embed", "qkv_bias": "q.bias"}
        part = named.get(next(iter(settings)))
        assert (keys == changed_keys) == (part is None)
        assert all(part in key or "k.bias" in key or "v.bias" in key for key in set(keys) - set(changed_keys))

    def test_dropout_rates_reach_their_layers(self):
        model = AutoFormer(**SMALL, drop_rate=0.1, attn_drop_rate=0.2).freeze(AutoFormer(**SMALL).random(Random(0)))
        rates = {path.rpartition(".")[2]: m.p for path, m in model.named_modules() if isinstance(m, nn.Dropout)}
        assert rates == {"attn_drop": 0.2, "proj_drop": 0.1, "dropout": 0.1}

    def test_one_layer_has_no_drop_path(self):
        space = AutoFormer(**{**SMALL, "search_depth": (1,)}, drop_path_rate=0.9)
        assert [layer.drop_path_prob for layer in space.freeze(space.random()).blocks] == [0.0]

    def test_two_depths_are_two_candidates(self):
        space = AutoFormer(**{**SMALL, "search_depth": (1, 3)})
        assert space.choices["depth"].candidates == (1, 3)
        assert space.choices["num_head_2"].conditions == ((("depth", (3,)),),)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"search_embed_dim": ()}, r"search_embed_dim = \(\)"),
            ({"search_embed_dim": (0, 192)}, "search_embed_dim"),
            ({"search_embed_dim": (192.0,)}, "whole numbers"),
            ({"search_num_heads": (0, 3)}, r"search_num_heads = \(0, 3\)"),
            ({"search_num_heads": 3}, "search_num_heads = 3"),
            ({"search_depth": (0, 1)}, "search_depth"),
            ({"search_mlp_ratio": (-1.0,)}, "search_mlp_ratio"),
            ({"search_mlp_ratio": (0.001, 3.0)}, "without hidden channels"),
            ({"search_mlp_ratio": ("3",)}, "search_mlp_ratio"),
            ({"img_size": 225}, "img_size = 225, patch_size = 16"),
            ({"patch_size": 0}, "patch_size = 0"),
            ({"in_channels": 0}, "in_channels = 0"),
            ({"drop_path_rate": 1.0}, r"drop_path_rate = 1.0 is not in \[0, 1\)"),
            ({"attn_drop_rate": -0.1}, "attn_drop_rate"),
            ({"num_labels": 0}, "num_labels = 0"),
        ],
    )
    def test_senseless_ones(self, settings, message):
        with pytest.raises(SpaceError, match=message):
            AutoFormer(**settings)

    def test_unknown_preset(self):
        with pytest.raises(SpaceError, match=r"no preset 'smal'\. Did you mean small"):
            AutoFormer.preset("smal")


class TestFreshWeights:
    def test_distributions(self):
        torch.manual_seed(0)
        space = AutoFormer()
        state = space.freeze(space.random(Random(0))).state_dict()
        for key in ("cls_token.cls_token", "pos_embed.pos_embed", "blocks.3.attn.rel_pos_embed_v.embeddings_table_h"):
            assert state[key].std() == pytest.approx(0.02, rel=0.15), key
        for key in ("blocks.0.attn.q.weight", "blocks.11.fc2.weight", "head.weight", "head.bias"):
            bound = state[key.replace("bias", "weight")].shape[1] ** -0.5
            assert bound * 0.98 < state[key].abs().max() <= bound, key
        assert state["patch_embed.weight"].abs().max() <= 768**-0.5
        assert all((tensor == 1).all() for key, tensor in state.items() if key.endswith("norm.weight"))


@pytest.mark.slow
class TestExport:
    @pytest.fixture
    def model(self):
        model = AutoFormer(**SMALL).freeze(AutoFormer(**SMALL).random(Random(0))).eval()
        fill(model, 2.0)
        return model

    def test_every_form_at_other_batch_sizes(self, model, tmp_path):
        assert_exports(model, 32, tmp_path)

    def test_torchscript_needs_no_tracing(self, model, tmp_path):
        assert export_torchscript(ExportableModel(model, torch.zeros(2, 3, 32, 32)), tmp_path / "model.pt") == "scripted"


@pytest.fixture
def state():
    """The supernet of the small space: the tensors of its largest network under NNI's names."""
    space = AutoFormer(**SMALL)
    largest = space.freeze({label: max(choice.candidates) for label, choice in space.choices.items()})
    fill(largest, 2.0)
    return {key.replace("blocks.", "blocks.blocks.", 1): tensor for key, tensor in largest.state_dict().items()}


class TestSlicing:
    space = AutoFormer(**SMALL)

    def test_subnets_have_leading_slices(self, state):
        arch = {"embed_dim": 16, "depth": 2, "num_head_0": 1, "mlp_ratio_0": 3.5, "num_head_1": 2, "mlp_ratio_1": 4.0}
        subnet = slice_supernet(state, self.space, arch)
        assert torch.equal(subnet["blocks.0.attn.q.weight"], state["blocks.blocks.0.attn.q.weight"][:64, :16])
        assert torch.equal(subnet["blocks.1.attn.proj.weight"], state["blocks.blocks.1.attn.proj.weight"][:16])
        assert torch.equal(subnet["blocks.0.fc2.weight"], state["blocks.blocks.0.fc2.weight"][:16, :56])
        assert torch.equal(subnet["pos_embed.pos_embed"], state["pos_embed.pos_embed"][:, :, :16])
        assert torch.equal(subnet["head.bias"], state["head.bias"])
        assert not any(key.startswith("blocks.2.") for key in subnet)

    def test_slices_are_copies(self, state):
        subnet = slice_supernet(state, self.space, self.space.random(Random(0)))
        assert all(tensor.is_contiguous() for tensor in subnet.values())
        stored = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
        assert stored.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in subnet.values())

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda s: s.pop("norm.bias"), "norm.bias of its largest network is missing"),
            (lambda s: s.pop("blocks.blocks.2.fc1.bias"), r"blocks.2.fc1.bias of .* is missing"),
            (lambda s: s.update(extra=torch.zeros(1)), "extra is not of that space"),
            (lambda s: s.update({"blocks.0.fc1.bias": torch.zeros(96)}), r"blocks.0.fc1.bias is not of that space"),
            (
                lambda s: s.update({"blocks.blocks.1.fc1.bias": torch.zeros(97)}),
                r"blocks.blocks.1.fc1.bias has shape \(97,\) where .* has \(96,\)",
            ),
        ],
    )
    def test_a_file_that_does_not_fit(self, state, spoil, message):
        spoil(state)
        with pytest.raises(KeyFormatError, match=message):
            slice_supernet(state, self.space, self.space.random(Random(0)))

    def test_the_supernet_of_a_larger_space(self, state):
        smaller = replace(self.space, search_embed_dim=(16,))
        with pytest.raises(KeyFormatError, match=r"patch_embed.weight has shape \(24, .* has \(16,"):
            slice_supernet(state, smaller, smaller.random(Random(0)))

    def test_a_subnet_s_file(self, state):
        arch = self.space.random(Random(0))
        with pytest.raises(KeyFormatError, match="is missing"):
            slice_supernet(self.space.freeze(arch).state_dict(), self.space, arch)

    def test_an_arch_of_another_space(self, state):
        with pytest.raises(ArchError, match="embed_dim"):
            slice_supernet(state, self.space, AutoFormer().random(Random(0)))


class TestKeyFormat:
    """The same file as `weights` of any card of the space."""

    space = AutoFormer(**SMALL)
    arch = space.random(Random(1))

    def test_loads_what_slicing_gives(self, state, tmp_path):
        torch.save(state, tmp_path / "supernet.pth")
        model = load_weights(self.space, self.arch, tmp_path / "supernet.pth", "autoformer-supernet")
        expected = slice_supernet(state, self.space, self.arch)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())
        assert not model.training

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda s: s.pop("norm.bias"), "1 missing: norm.bias"),
            (lambda s: s.update(extra=torch.zeros(1)), r"1 not of this model: \[extra\]"),
            (lambda s: s.update({"blocks.0.fc1.bias": torch.zeros(96)}), r"not of this model: \[blocks.0.fc1.bias\]"),
            (lambda s: s.update({"blocks.blocks.0.fc3.bias": torch.zeros(96)}), r"\[blocks.blocks.0.fc3.bias\]"),
            (lambda s: s.update({"blocks.blocks.0.fc1.bias": torch.zeros(9)}), r"blocks.0.fc1.bias \(9,\) where"),
            (lambda s: s.update({"blocks.blocks.0.fc1.bias": torch.zeros(96, 1)}), r"blocks.0.fc1.bias \(96, 1\) where"),
            (lambda s: s.update({"head.bias": torch.zeros(11)}), r"head.bias \(11,\) where \(10,\)"),
        ],
    )
    def test_a_file_that_does_not_fit(self, state, spoil, message):
        spoil(state)
        with pytest.raises(KeyFormatError, match=message):
            convert(state, self.space.freeze(self.arch), "autoformer-supernet")

    def test_another_space(self, state):
        with pytest.raises(KeyFormatError, match="of AutoFormer, and the space is NasBench101"):
            check_supernet(state, NasBench101())


class TestSupernetCards:
    @pytest.mark.parametrize("name", SUPERNETS)
    def test_names_the_published_file(self, read, name):
        preset = SUPERNETS[name][0]
        fixture = read(f"aliases/autoformer-{preset}-supernet")
        card = supernet_card(name, AutoFormer.preset(preset).random(Random(0)))
        assert fixture["load_name"] == name
        *authors, nni = card.weights
        assert [(s.file_name, s.key_format) for s in authors] == [(f"supernet-{preset}.pth", "cream-autoformer")] * 2
        assert nni.url.endswith("/" + fixture["pretrained_file"])
        assert nni.sha256 == fixture["pretrained_hash_suffix"]
        assert AutoFormer(**card.settings) == AutoFormer.preset(preset)

    def test_loads_any_subnet(self, read, tmp_path):
        space = AutoFormer()
        state = supernet_state(read("aliases/autoformer-tiny-supernet")["state_dict"])
        torch.save(state, tmp_path / "supernet.pth")
        card = supernet_card("random-one-shot-tiny", space.random(Random(3)))
        with pytest.warns(WeightsWarning, match="fewer heads than those of NNI's supernet file"):
            model = load_model(card, weights=tmp_path / "supernet.pth", key_format="autoformer-supernet")
        expected = slice_supernet(state, space, card.arch)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())

    def test_of_an_unknown_supernet(self):
        with pytest.raises(CardError, match="Did you mean random-one-shot-tiny"):
            supernet_card("random-one-shot-tyni", {})

    def test_of_an_arch_of_another_preset(self):
        arch = AutoFormer().random(Random(0))
        with pytest.raises(ArchError, match="embed_dim"):
            supernet_card("random-one-shot-base", arch)
