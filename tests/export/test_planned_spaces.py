"""Random archs of the spaces whose inputs are no images, in every exact format, at other batch sizes and lengths."""

from __future__ import annotations

from random import Random

import pytest

from hubserve.export.tensor_proof import write_proven_tensors
from hubserve.hub import get_space
from hubserve.package.formats import TENSOR_FORMATS
from hubserve.package.signature import ModelSignature
from tests.hub.parity import fill

SETTINGS = {
    "NASBERT": {"vocab_size": 50, "hidden_sizes": (64, 128), "num_blocks": 2, "layers_per_block": 2},
    "LightSpeech": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", SETTINGS)
def test_random_archs_export_with_parity(name, seed, tmp_path):
    space = get_space(name, SETTINGS[name])
    model = space.freeze(space.random(Random(seed)))
    fill(model, 1.0)
    signature = ModelSignature(space.inputs, space.outputs)
    proven = write_proven_tensors(model, signature, tmp_path, formats=TENSOR_FORMATS)
    for report in proven.reports:
        assert report.passed
        assert len(set(report.batches)) >= 3
