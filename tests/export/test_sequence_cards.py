"""Every published card of NASBERT and LightSpeech in every exact format, at other batch sizes and lengths than those exported.

`pytest -m long tests/export/test_sequence_cards.py` runs the large ones, `-m slow` the smallest ones. The figures of a run are
properties of its JUnit file (`--junitxml`).
"""

from __future__ import annotations

import pytest

from hubserve.export.tensor_proof import write_proven_tensors
from hubserve.hub import list_cards, load_card
from hubserve.hub.registry import card_space
from hubserve.package.formats import FORMATS, TENSOR_FORMATS
from hubserve.package.signature import ModelSignature
from tests.hub.image_spaces import IMAGE_CARDS
from tests.hub.parity import fill
from tests.marks import graded

SMALL = {"nasbert-5m", "lightspeech"}
"""Cards whose export takes seconds; that of the others takes minutes."""

CARDS = [name for name in list_cards() if name not in IMAGE_CARDS]


pytestmark = [pytest.mark.timeout(1700), pytest.mark.filterwarnings("ignore:record_property is incompatible")]


def test_there_are_13_cards_of_sequences():
    assert len(CARDS) == 13
    assert set(CARDS) >= SMALL


@pytest.mark.parametrize("name", graded(CARDS, slow=SMALL))
def test_every_card_exports_with_parity(name, tmp_path, record_property):
    card = load_card(name)
    space = card_space(card)
    model = space.freeze(card.arch)
    fill(model, 1.0)  # With 2.0, rounding to float32 grows to 0.0003 of the logits in the deeper ones (to 1e-12 in float64).
    signature = ModelSignature(space.inputs, space.outputs)
    exported = {array.shape for array in signature.export_batch()}
    others = {array.shape for batch in signature.compared_batches() for array in batch} - exported
    assert len({rows for rows, _ in others}) >= 2
    assert len({length for _, length in others}) >= 2
    proven = write_proven_tensors(model, signature, tmp_path, formats=TENSOR_FORMATS)
    assert [report.format for report in proven.reports] == list(TENSOR_FORMATS)
    for report in proven.reports:
        assert report.passed
        record_property(report.format, f"{report.max_abs_error / report.scale:.2e}")
        record_property(f"{report.format} alone", f"{report.alone_error:.2e}")
        record_property(f"{report.format} bytes", (tmp_path / FORMATS[report.format].file).stat().st_size)
