"""Files in the containers of the original authors load into our networks, whose logits are those of the original code."""

from __future__ import annotations

import argparse
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hubserve.errors import KeyFormatError, WeightsError
from hubserve.hub import load_card, load_model
from hubserve.hub.autoformer_cards import supernet_card
from hubserve.hub.key_formats import convert
from hubserve.hub.registry import card_space
from hubserve.hub.weight_sources import cached_path
from tests.hub.parity import filling, fixture_input
from tests.marks import slow_but

ORIGINALS = Path(os.environ.get("HUBSERVE_TEST_DATA", "none")) / "parity" / "originals"
FILES = sorted(ORIGINALS.glob("*.json"))
NAMES = [file.name.removesuffix(".json") for file in FILES] or [
    pytest.param("none", marks=pytest.mark.skip(reason="HUBSERVE_TEST_DATA has no parity/originals"))
]


def oracle(name):
    return json.loads((ORIGINALS / f"{name}.json").read_text())


def original_state(fixture):
    return {
        key: torch.from_numpy(np.asarray(filling(key, tuple(shape), fixture["fill_gain"]), np.float32))
        for key, shape in fixture["state_dict"]
        if not (fixture["format"] == "darts" and key.endswith("num_batches_tracked"))  # Files of torch 0.3 have none.
    }


def write_original(fixture, state, folder):
    """The file as the authors of the format write it."""
    path, kind = folder / "weights.pth", fixture["format"]
    if kind == "pytorchcv":
        torch.save(state, folder / "inner.pth")
        with zipfile.ZipFile(folder / "weights.pth.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(folder / "inner.pth", "weights.pth")
        return folder / "weights.pth.zip"
    if kind == "cream":
        raw = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
        checkpoint = {"arch": "Childnet", "state_dict": raw, "state_dict_ema": state, "args": argparse.Namespace(lr=1)}
        torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    elif kind == "cream-autoformer":
        torch.save({"model": state, "epoch": 499, "args": argparse.Namespace(lr=np.float64(1))}, path)
    elif kind == "singlepathoneshot":
        torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}, "iteration": 3}, path)
    elif kind == "proxylessnas":
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


OF_EACH_FORMAT = set({Path(name).suffix: name for name in NAMES if isinstance(name, str)}.values())


@pytest.mark.parametrize("name", slow_but(NAMES, OF_EACH_FORMAT) if FILES else NAMES)
def test_the_logits_of_the_original_code(name, tmp_path):
    fixture = oracle(name)
    path = write_original(fixture, original_state(fixture), tmp_path)
    model = load_model(fixture["alias"], weights=path, key_format=fixture["format"])
    assert_logits(model, fixture)


@pytest.mark.parametrize("preset", slow_but(("tiny", "small", "base"), {"tiny"}) if FILES else NAMES)
def test_a_supernet_card_cuts_from_the_authors_file(preset, tmp_path, monkeypatch):
    """The card of an arbitrary arch, here the one that the oracle has logits of, from each way to the authors' supernet."""
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    fixture = oracle(f"autoformer-{preset}.cream-autoformer")
    card = supernet_card(f"random-one-shot-{preset}", load_card(f"autoformer-{preset}").arch)
    written = write_original(fixture, original_state(fixture), tmp_path)
    assert card.weights[1].drive is not None
    place = cached_path(card.weights[1])
    place.parent.mkdir(parents=True)
    written.rename(place)
    assert_logits(load_model(card, download=False), fixture)
    place.rename(tmp_path / f"supernet-{preset}.pth")
    assert_logits(load_model(card, weights=tmp_path), fixture)


def assert_logits(model, fixture):
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
    with torch.no_grad():
        logits = model.double()(fixture_input(fixture["input_shape"]).double()).numpy()
    for row, expected in zip(logits, fixture["logits_float64"], strict=True):
        np.testing.assert_allclose(row[:16], expected["first16"], rtol=1e-9, atol=1e-12 * max(1, expected["l2"]))
        found = [row.mean(), row.std(), np.linalg.norm(row)]
        np.testing.assert_allclose(found, [expected[k] for k in ("mean", "std", "l2")], rtol=1e-9)
        assert row.argmax() == expected["argmax"]


@pytest.mark.parametrize("name", ["acenas-m1.acenas", "proxyless-cpu.pytorchcv", "darts-v2.darts"] if FILES else NAMES)
def test_a_wrong_rule_is_noticed(name, tmp_path):
    """Two tensors of one shape that are swapped give other logits, so that the oracles would find a wrong rule."""
    fixture = oracle(name)
    state = original_state(fixture)
    by_shape = {}
    for key, tensor in state.items():
        if tensor.dim() == 4 and not key.startswith("auxiliary"):
            by_shape.setdefault(tuple(tensor.shape), []).append(key)
    first, second = next(keys for keys in by_shape.values() if len(keys) > 1)[:2]
    state[first], state[second] = state[second], state[first]
    model = load_model(fixture["alias"], weights=write_original(fixture, state, tmp_path), key_format=fixture["format"])
    with torch.no_grad():
        logits = model.double()(fixture_input(fixture["input_shape"]).double()).numpy()
    expected = np.array([row["first16"] for row in fixture["logits_float64"]])
    assert np.abs(logits[:, :16] - expected).max() > 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["autoformer-tiny.cream-autoformer"] if FILES else NAMES)
def test_queries_keys_values_by_tensor(name):
    """The bias of the keys cancels in the softmax, so that logits cannot prove its rule."""
    fixture = oracle(name)
    state, card = original_state(fixture), load_card(fixture["alias"])
    space = card_space(card)
    with torch.device("meta"):
        model = space.freeze(card.arch)
    found = convert(state, model, fixture["format"], space)
    for layer in (0, 12):
        weight, bias = state[f"blocks.{layer}.attn.qkv.weight"], state[f"blocks.{layer}.attn.qkv.bias"]
        for i, part in enumerate("qkv"):
            rows, channels = model.state_dict()[f"blocks.{layer}.attn.{part}.weight"].shape
            assert torch.equal(found[f"blocks.{layer}.attn.{part}.weight"], weight[i::3][:rows, :channels])
            assert torch.equal(found[f"blocks.{layer}.attn.{part}.bias"], bias[i * rows :][:rows])


@pytest.mark.parametrize("name", ["autoformer-small.cream-autoformer"] if FILES else NAMES)
def test_the_supernet_of_another_preset_is_refused(name):
    card = load_card("autoformer-tiny")
    space = card_space(card)
    with torch.device("meta"):
        model = space.freeze(card.arch)
    with pytest.raises(KeyFormatError, match=r"14 layers of 7 heads.* 14 of 4"):
        convert(original_state(oracle(name)), model, "cream-autoformer", space)


def test_an_arbitrary_subnet_of_the_original_supernet():
    """Depth, width, heads and ratios other than the card's are cut, too."""
    card = load_card("autoformer-tiny")
    space = card_space(card)
    width = rows = 256
    layer = {
        "attn.qkv.weight": (3 * rows, width), "attn.qkv.bias": (3 * rows,), "attn.proj.weight": (width, rows),
        "attn.proj.bias": (width,), "fc1.weight": (4 * width, width), "fc1.bias": (4 * width,),
        "fc2.weight": (width, 4 * width), "fc2.bias": (width,),
        **{f"{norm}_layer_norm.{t}": (width,) for norm in ("attn", "ffn") for t in ("weight", "bias")},
        **{f"attn.rel_pos_embed_{o}.embeddings_table_{w}": (30, 64) for o in "kv" for w in "vh"},
    }  # fmt: skip
    shapes = {f"blocks.{i}.{key}": shape for i in range(14) for key, shape in layer.items()}
    shapes |= {
        "cls_token": (1, 1, width), "pos_embed": (1, 197, width), "patch_embed_super.proj.weight": (width, 3, 16, 16),
        "patch_embed_super.proj.bias": (width,), "norm.weight": (width,), "norm.bias": (width,),
        "head.weight": (1000, width), "head.bias": (1000,),
    }  # fmt: skip
    state = {key: torch.randn(shape) for key, shape in shapes.items()}
    arch = {**card.arch, "depth": 12, "embed_dim": 216, "num_head_0": 4}
    with torch.device("meta"):
        model = space.freeze(arch)
    found = convert(state, model, "cream-autoformer", space)
    assert torch.equal(found["blocks.0.attn.v.bias"], state["blocks.0.attn.qkv.bias"][512:768])
    del state["blocks.3.fc1.weight"]
    with pytest.raises(KeyFormatError, match=r"1 missing: blocks\.3\.fc1\.weight"):
        convert(state, model, "cream-autoformer", space)


def test_a_cream_file_without_averaged_weights_is_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no entry 'state_dict_ema'"):
        load_model("cream-014", weights=tmp_path / "w.pth", key_format="cream")
