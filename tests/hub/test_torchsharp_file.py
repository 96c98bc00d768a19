"""Files by TorchSharp: written here byte by byte, read back, and what is no such file is refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubserve.errors import WeightsError
from hubserve.hub import NASBERT
from hubserve.hub.pretrained import load_weights
from hubserve.hub.torchsharp_file import read_torchsharp
from hubserve.weights_warning import WeightsWarning
from tests.hub.parity import filling
from tests.hub.test_sequence_oracles import text_arch


def leb128(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def written(tensors: dict[str, np.ndarray]) -> bytes:
    parts = [leb128(len(tensors))]
    for name, values in tensors.items():
        kind = {"float32": 6, "int64": 4}[values.dtype.name]
        parts += [leb128(len(name.encode())), name.encode(), leb128(kind), leb128(values.ndim)]
        parts += [*map(leb128, values.shape), values.tobytes()]
    return b"".join(parts)


SMALL = {"a.weight": np.arange(300, dtype=np.float32).reshape(2, 150), "ä": np.array(7)}


def test_tensors_are_read_back(tmp_path):
    path = tmp_path / "a.tsm"
    path.write_bytes(written(SMALL))
    found = read_torchsharp(path)
    assert list(found) == list(SMALL)
    assert all(np.array_equal(found[name].numpy(), values) for name, values in SMALL.items())
    assert found["ä"].dtype == torch.int64


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(written(SMALL)) - 1), byte=st.integers(0, 255))
def test_what_is_corrupt_is_refused_or_read(tmp_path: Path, place, byte):
    path = tmp_path / "a.tsm"
    content = bytearray(written(SMALL))
    content[place] = byte
    path.write_bytes(bytes(content))
    with contextlib.suppress(WeightsError):
        assert read_torchsharp(path)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x01", written(SMALL)[:-1], written(SMALL) + b"x", b"\xff" * 40])
def test_truncated_and_other_files_are_refused(tmp_path, content):
    path = tmp_path / "a.tsm"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="no readable file of TorchSharp"):
        read_torchsharp(path)


def test_an_encoder_of_ml_net_is_loaded(shared, tmp_path):
    """The names are those in ML.NET's code; the files hold the part after "Encoder.", and no classifier."""
    oracle = json.loads((shared / "parity" / "planned" / "nasbert-random-a.json").read_text())
    keys = [(key, shape) for key, shape in oracle["state_dict"] if key.startswith("Encoder.")]
    tensors = {key: filling(key, tuple(shape), oracle["fill_gain"]) for key, shape in keys}
    path = tmp_path / "encoder.tsm"
    path.write_bytes(written({key.removeprefix("Encoder."): values for key, values in tensors.items()}))
    space = NASBERT(vocab_size=1000, embedding_size=128, num_labels=3)
    arch = text_arch([(block["hidden"], block["ops"]) for block in oracle["arch"]])
    with pytest.warns(WeightsWarning, match="no classifier, which is initialised at random"):
        model = load_weights(space, arch, path, "mlnet-nasbert")
    with torch.no_grad():
        features = model.double().encode(torch.tensor(oracle["tokens"]))
    expected = oracle["features_valid_float64"][0]["first16"]
    np.testing.assert_allclose(features[0, : oracle["lengths"][0]].flatten()[:16], expected, rtol=1e-8, atol=1e-9)
    assert not model.classifier.bias.any()
