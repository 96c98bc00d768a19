"""Every pre-searched model exports to every form with parity."""

from __future__ import annotations

import pytest

from hubserve.hub import load_card
from hubserve.hub.registry import card_space
from tests.export.matrix import assert_exports
from tests.hub.image_spaces import IMAGE_CARDS
from tests.hub.parity import fill
from tests.marks import graded

GAIN = {"darts-v2": 1.5}
"""That of its fixture; deeper networks overflow with the usual one."""


QUICK = {"efficientnet-lite0"}
"""The one with real weights; the others, whose kinds of networks test_spaces exports too, are marked as slow or long."""

SLOW = {"cream-043", "spos"}
"""Mobile blocks with squeeze-and-excite, and shuffled channels. The others take up to 100 CPU seconds each."""


@pytest.mark.slow
@pytest.mark.parametrize("name", graded(IMAGE_CARDS, quick=QUICK, slow=SLOW))
def test_every_card_exports_with_parity(name, tmp_path):
    card = load_card(name)
    model = card_space(card).freeze(card.arch)
    fill(model, GAIN.get(name, 2.0))
    assert_exports(model, card.preprocess.input_size, tmp_path)
