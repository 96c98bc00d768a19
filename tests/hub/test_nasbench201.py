"""NasBench201: arch strings both ways, and the size of a network from the paper's description alone."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ArchError, SpaceError
from hubserve.hub import NasBench201
from hubserve.hub.nasbench201 import PUBLISHED_NAMES, from_arch_string, to_arch_string

SPACE = NasBench201()
LABELS = ("cell/0_1", "cell/0_2", "cell/1_2", "cell/0_3", "cell/1_3", "cell/2_3")
PUBLISHED = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"
ARCH = dict(zip(LABELS, ("conv_3x3", "none", "skip_connect", "avg_pool_3x3", "conv_1x1", "conv_3x3"), strict=True))

archs = st.fixed_dictionaries({label: st.sampled_from(list(PUBLISHED_NAMES)) for label in LABELS})


class TestArchStrings:
    def test_one_by_hand(self):
        assert to_arch_string(ARCH) == PUBLISHED
        assert from_arch_string(PUBLISHED) == ARCH
        assert from_arch_string(f" {PUBLISHED}\n") == ARCH

    @given(archs)
    def test_there_and_back(self, arch):
        assert from_arch_string(to_arch_string(arch)) == arch
        assert SPACE.canonical(arch) == arch

    @given(st.text(alphabet="|+~0123none_skip", max_size=40))
    def test_any_text_is_an_arch_or_refused(self, text):
        with pytest.raises(ArchError, match="is no arch string of NAS-Bench-201, which looks like"):
            from_arch_string(text)

    @given(st.data())
    def test_a_corrupt_string_is_never_another_arch(self, data):
        place = data.draw(st.integers(0, len(PUBLISHED) - 1))
        corrupt = PUBLISHED[:place] + data.draw(st.sampled_from("|~+0x_ ")) + PUBLISHED[place + 1 :]
        if corrupt.strip() != PUBLISHED:
            with pytest.raises(ArchError, match=r"arch string|names the operation"):
                from_arch_string(corrupt)

    def test_an_unknown_operation(self):
        with pytest.raises(ArchError, match=r"names the operation 'nor_conv_5x5'\. Did you mean nor_conv_\dx\d"):
            from_arch_string(PUBLISHED.replace("nor_conv_3x3~0", "nor_conv_5x5~0"))

    def test_our_own_names_are_not_the_table_s(self):
        with pytest.raises(ArchError, match="names the operation 'conv_3x3'"):
            from_arch_string(PUBLISHED.replace("nor_", ""))

    def test_an_arch_that_is_none(self):
        with pytest.raises(ArchError, match=r"\['cell/0_2'\] = 'nor_conv_3x3' is not one of"):
            to_arch_string({**ARCH, "cell/0_2": "nor_conv_3x3"})
        with pytest.raises(ArchError, match="no 'cell/2_3'"):
            to_arch_string({label: ARCH[label] for label in LABELS[:-1]})


def test_all_archs():
    assert SPACE.count() == 5**6
    strings = {to_arch_string(SPACE.grid_arch(i)) for i in range(SPACE.count())}
    assert len(strings) == 15_625


def params_by_hand(arch: dict, width: int, cells: int, classes: int) -> int:
    """From section 2.1: a stem, three stacks of cells, a residual block between two stacks, a norm and a matrix."""
    kernels = {"conv_1x1": 1, "conv_3x3": 3}

    def cell(c: int) -> int:
        return sum(c * c * kernels[name] ** 2 + 2 * c for name in arch.values() if name in kernels)

    def residual(c: int) -> int:
        return (9 * c * 2 * c + 4 * c) + (9 * 4 * c * c + 4 * c) + 2 * c * c

    stacks = sum(cells * cell(width << s) for s in range(3))
    last = width * 4
    return 27 * width + 2 * width + stacks + residual(width) + residual(2 * width) + 2 * last + last * classes + classes


@pytest.mark.parametrize(("width", "cells", "classes"), [(16, 5, 10), (8, 1, 100), (4, 0, 2)])
def test_size(width, cells, classes):
    space, rng = NasBench201(stem_out_channels=width, num_modules_per_stack=cells, num_labels=classes), Random(0)
    for arch in [ARCH, *(SPACE.random(rng) for _ in range(3))]:
        with torch.device("meta"):
            net = space.freeze(arch)
        assert sum(p.numel() for p in net.parameters()) == params_by_hand(arch, width, cells, classes)


def test_cells_share_their_arch():
    net = NasBench201(stem_out_channels=4, num_modules_per_stack=2).freeze(ARCH)
    kinds = [[type(layer).__name__ for row in cell.layers for layer in row] for cell in net.cells if hasattr(cell, "layers")]
    assert kinds == [["ReluConvBn", "Zero", "Identity", "AvgPool2d", "ReluConvBn", "ReluConvBn"]] * 6


def test_the_outline_leaves_out_what_is_none():
    (outline,) = SPACE.cells(ARCH).values()
    assert outline.nodes == ("input", "1", "2", "output")
    expected = {(0, 1, "conv_3x3"), (1, 2, "skip_connect"), (0, 3, "avg_pool_3x3"), (1, 3, "conv_1x1"), (2, 3, "conv_3x3")}
    assert set(outline.edges) == expected


def test_nothing_but_none_is_a_network_that_sees_nothing():
    net = NasBench201(stem_out_channels=4, num_modules_per_stack=1).freeze(dict.fromkeys(LABELS, "none")).eval()
    one, other = torch.randn(2, 1, 3, 16, 16)
    torch.testing.assert_close(net(one), net(other))


def test_no_classes():
    with pytest.raises(SpaceError, match="num_labels = 0 must be at least 1"):
        NasBench201(num_labels=0)


@pytest.mark.parametrize(("setting", "least"), [("stem_out_channels", 1), ("num_modules_per_stack", 0)])
def test_a_setting_that_is_too_small(setting, least):
    with pytest.raises(SpaceError, match=f"{setting} = {least - 1} must be at least {least}"):
        NasBench201(**{setting: least - 1})
