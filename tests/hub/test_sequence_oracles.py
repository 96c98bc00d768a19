"""The 11 oracles of NASBERT and LightSpeech: keys, parameters, MACs and, in double precision, every output.

Those of LightSpeech are outputs of the original code; those of NAS-BERT are of an independent implementation.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hubserve.blocks.lightspeech import frame_steps
from hubserve.complexity import complexity
from hubserve.hub import NASBERT, LightSpeech
from hubserve.hub.key_formats import convert
from hubserve.hub.lightspeech import IDENTITY, OPERATIONS
from hubserve.hub.lightspeech_network import LightSpeechNet
from tests.hub.parity import filling

TEXT = ("5m", "mlnet-14m", "random-a", "random-b", "random-c", "table10")
SPEECH = ("found", "mixed-a", "mixed-b", "mixed-c", "identity")
ORACLES = [*(f"nasbert-{name}" for name in TEXT), *(f"lightspeech-{name}" for name in SPEECH)]

OF_NASBERT = {"M": "mha", "F": "ffn", "S3": "sep_conv_3", "S5": "sep_conv_5", "S7": "sep_conv_7"}
"""Names of operations in the oracles -> those in archs."""

CODES = (*OPERATIONS, IDENTITY)
"""The operations of LightSpeech by the original's numbers, from 1."""


def error_of_sines() -> float:
    """By how much this processor's sines in float32 are off the nearest number: 0 or one unit in the last place, 6e-8."""
    angles = torch.arange(0, 100, 0.01)
    return max(float((f(angles) - f(angles.double()).float()).abs().max()) for f in (torch.sin, torch.cos))


OF_SPEECH = 1e-8 + 5 * error_of_sines()
"""Error of LightSpeech's outputs, as a share of the largest number: its position embeddings are sines in float32."""


def near(found: Any, expected: Any, share: float = 1e-8) -> None:
    """The largest error is at most `share` of the largest number."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= share * max(np.abs(expected).max(), 1e-8)


def row_near(found: Tensor, expected: dict[str, Any], share: float = 1e-8) -> None:
    near(found.flatten()[:16], expected["first16"], share)
    near(found.norm(), expected["l2"], share)


def filled(oracle: dict[str, Any], **override: float) -> dict[str, Tensor]:
    """The state dict of the oracle, under its own keys."""
    state = {key: torch.from_numpy(filling(key, tuple(shape), oracle["fill_gain"])) for key, shape in oracle["state_dict"]}
    return state | {key: torch.full_like(state[key], value) for key, value in override.items()}


def text_arch(blocks: list[tuple[int, list[str]]]) -> dict[str, Any]:
    arch: dict[str, Any] = {}
    for b, (hidden, operations) in enumerate(blocks, 1):
        arch |= {f"b{b}_hidden": hidden, f"b{b}_depth": len(operations)}
        arch |= {f"b{b}_op_{i}": OF_NASBERT[operation] for i, operation in enumerate(operations)}
    return arch


def params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:the file has no statistics of the pitch")
@pytest.mark.parametrize("name", ORACLES)
@torch.no_grad()
def test_oracle(shared, name):
    oracle = json.loads((shared / "parity" / "planned" / f"{name}.json").read_text())
    if name == "nasbert-table10":
        check_table(oracle)
    elif name.startswith("nasbert"):
        check_text(oracle)
    else:
        check_speech(oracle)


def check_table(oracle: dict[str, Any]) -> None:
    rows = [row for row in oracle["rows"] if "unsure" not in row]
    assert len(rows) == 11
    for row in rows:
        with torch.device("meta"):
            model = NASBERT(embedding_size=row["embedding"]).freeze(text_arch(row["blocks"]))
        assert params(model) - params(model.classifier) == row["encoder_params_vocab_50265"]


def check_text(oracle: dict[str, Any]) -> None:
    given = oracle["init_kwargs"]
    settings = {name: given[name] for name in ("vocab_size", "embedding_size", "max_length", "pad_id", "num_labels")}
    space = NASBERT(**settings)
    arch = text_arch([(block["hidden"], block["ops"]) for block in oracle["arch"]])
    assert space.canonical(arch) == space.canonical(space.canonical(arch)) == arch
    model = space.freeze(arch).eval()
    assert (params(model), params(model) - params(model.classifier)) == (oracle["num_params"], oracle["num_params_encoder"])
    model.load_state_dict(convert(filled(oracle), model, "mlnet-nasbert", space))
    tokens, logits = torch.tensor(oracle["tokens"]), oracle["logits_float64"]
    near(model.double()(tokens), logits)
    features = model.encode(tokens)
    for i, length in enumerate(oracle["lengths"]):
        row_near(features[i, :length], oracle["features_valid_float64"][i])
        near(model(tokens[i : i + 1, :length]), logits[i : i + 1])


def check_speech(oracle: dict[str, Any]) -> None:
    operations = [CODES[code - 1] for code in oracle["codes"]]
    arch = {f"encoder_{i}": name for i, name in enumerate(operations[:4])}
    arch |= {f"decoder_{i}": name for i, name in enumerate(operations[4:])}
    spaces = {mask: LightSpeech(operations=CODES, mask_padding=mask) for mask in (False, True)}
    models = {mask: space.freeze(arch).eval() for mask, space in spaces.items()}
    assert params(models[True]) == oracle["num_params"]
    without = LightSpeech(operations=CODES, spk_embed_proj=False).freeze(arch)
    assert params(without) == oracle["num_params_without_spk_embed_proj"]
    for name, case in oracle["cases"].items():
        state = filled(oracle, **case.get("override", {}))
        for mask, model in models.items():
            model.float().load_state_dict(convert(state, model, "neuralspeech-lightspeech", spaces[mask]))
        check_case(models[False].double(), case, list(range(len(case["tokens"]))), given="given" in name)
        # With masks, what follows a sequence does not matter: the numbers are those of the original without padding.
        check_case(models[True].double(), case, whole(case), given="given" in name)
    check_macs(models[True], oracle)


def whole(case: dict[str, Any]) -> list[int]:
    """The sequences of a case that are without padding, phonemes and frames alike."""
    pairs = zip(case["tokens"], case["mel2ph"], strict=True)
    return [i for i, (tokens, frames) in enumerate(pairs) if all(tokens) and all(frames)]


def check_case(model: LightSpeechNet, case: dict[str, Any], rows: list[int], *, given: bool) -> None:
    """Runs the sequences `rows` as one batch; `given` says whether the frames are an argument, or predicted."""
    if not rows:
        return
    tokens, mel2ph = (torch.tensor(case[name])[rows] for name in ("tokens", "mel2ph"))
    others = (torch.tensor(case[name], dtype=torch.float64)[rows] for name in ("pitch", "uv") if name in case)
    found, expected = model.speech(tokens, *((mel2ph, *others) if given else ())), case["outputs"]
    assert list(found.mel.shape) == [len(rows), *expected["mel_shape"][1:]]
    if not given:
        assert frame_steps(found.durations).tolist() == [case["mel2ph"][i] for i in rows]
    for place, i in enumerate(rows):
        assert found.bins[place].tolist() == expected["pitch_bins"][i]
        row_near(found.mel[place], expected["mel_float64"][i], OF_SPEECH)
        row_near(found.pitch[place], expected["pitch_logits_float64"][i], OF_SPEECH)
        row_near(found.f0[place], expected["f0_hz_float64"][i], OF_SPEECH)
        row_near(found.decoder_input[place], expected["decoder_inp_float64"][i], OF_SPEECH)
        if "log_durations_float64" in expected:
            near(found.log_durations[place], expected["log_durations_float64"][i], OF_SPEECH)


def check_macs(model: LightSpeechNet, oracle: dict[str, Any]) -> None:
    case, expected = oracle["cases"]["given_mel2ph"], oracle["macs_of_row_0_given_mel2ph"]
    found = complexity(model, (torch.tensor(case["tokens"][:1]), torch.tensor(case["mel2ph"][:1])))
    assert (found.conv_macs, found.linear_macs, found.attention_macs) == (
        expected["conv"],
        expected["linear"],
        expected["attention"],
    )
    assert not found.uncounted
