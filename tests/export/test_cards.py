"""Every pre-searched model exports to every form with parity."""

from __future__ import annotations

import pytest

from hubserve.hub import list_cards, load_card
from hubserve.hub.registry import card_space
from tests.export.matrix import assert_exports
from tests.hub.parity import fill

GAIN = {"darts-v2": 1.5}
"""That of its fixture; deeper networks overflow with the usual one."""


QUICK = {
    "acenas-m1",
    "cream-014",
    "efficientnet-lite0",
    "mobilenetv3-small-050",
    "mobilenetv3-small-100",
    "proxyless-gpu",
    "spos",
}
"""Of each kind the smallest; the others, with more of the same blocks, are marked as slow."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in list_cards()])
def test_every_card_exports_with_parity(name, tmp_path):
    card = load_card(name)
    model = card_space(card).freeze(card.arch)
    fill(model, GAIN.get(name, 2.0))
    assert_exports(model, card.preprocess.input_size, tmp_path)
