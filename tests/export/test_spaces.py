"""One matrix: random archs of every space of images, in every exported form, with parity."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from hubserve.hub import get_space
from tests.export.matrix import assert_exports
from tests.hub.image_spaces import IMAGE_SPACES
from tests.hub.parity import fill
from tests.marks import graded

SHORT = {"width": (8, 16), "num_cells": (3, 5)}
"""A cell is the same in a short network, and its export takes seconds less."""

SETTINGS = dict.fromkeys(("NASNet", "ENAS", "AmoebaNet", "PNAS", "DARTS"), SHORT) | {
    "AutoFormer": {"search_embed_dim": (48, 64), "search_num_heads": (1, 2), "search_depth": (2, 3), "img_size": 64},
    "NasBench101": {"stem_out_channels": 16, "num_modules_per_stack": 1},
    "NasBench201": {"stem_out_channels": 8, "num_modules_per_stack": 1},
}
QUICK = {"NasBench201"}
"""A small cell; tests/hub/test_autoformer.py exports a transformer."""
SLOW = {"ProxylessNAS", "PNAS", "DARTS", "ShuffleNetSpace", "NasBench101", "AutoFormer"}
"""Mobile blocks, cells, shuffled channels, a graph and attention. The others are like one of these."""
IMAGE_SIZES = {"MobileNetV3Space": 96, "ProxylessNAS": 96, "ShuffleNetSpace": 96}
"""Sizes in pixels, where the network takes any."""


@pytest.mark.parametrize("name", graded(IMAGE_SPACES, quick=QUICK, slow=SLOW))
def test_a_random_arch_exports_with_parity(name, tmp_path):
    check_random_arch(name, 0, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", IMAGE_SPACES)
def test_another_arch_exports_with_parity(name, tmp_path):
    check_random_arch(name, 1, tmp_path)


def check_random_arch(name: str, seed: int, folder: Path) -> None:
    space = get_space(name, SETTINGS.get(name))
    model = space.freeze(space.random(Random(seed)))
    fill(model, 1.5)
    assert_exports(model, IMAGE_SIZES.get(name, space.input_size), folder)
