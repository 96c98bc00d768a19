"""Every pre-searched model exports to every form with parity."""

from __future__ import annotations

import pytest
import torch

from hubserve.export.onnx import OnnxRunner, export_onnx
from hubserve.export.parity import check_parity, random_batches
from hubserve.export.runner import EagerRunner
from hubserve.export.torchscript import TorchScriptRunner, export_torchscript
from hubserve.hub import list_cards, load_card
from hubserve.hub.registry import card_space
from tests.hub.parity import fill


@pytest.mark.parametrize("name", list_cards())
def test_every_card_exports_with_parity(name, tmp_path):
    card = load_card(name)
    model = card_space(card).freeze(card.arch).eval()
    fill(model, 2.0)
    size = card.preprocess.input_size
    batches = random_batches((3, size, size), sizes=(1, 2, 3))
    example = torch.from_numpy(batches[1])
    export_onnx(model, tmp_path / "m.onnx", example=example)
    export_torchscript(model, tmp_path / "m.pt", example=example)
    eager = EagerRunner(model)
    assert check_parity(eager, OnnxRunner(tmp_path / "m.onnx", device="cpu"), batches).passed
    assert check_parity(eager, TorchScriptRunner(tmp_path / "m.pt"), batches).passed
