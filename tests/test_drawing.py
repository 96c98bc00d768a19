"""Drawings: what is in the image is what is in the arch."""

from __future__ import annotations

import re
from random import Random

import pytest
from PIL import Image

from hubserve.drawing import draw
from hubserve.errors import OutputError
from hubserve.hub import SPACES, NasBench101, load_card
from hubserve.hub.network_outline import block_outlines
from hubserve.hub.registry import card_space


def words(path) -> list[str]:
    return re.findall(r">([^<>\n]+)</text>", path.read_text())


@pytest.mark.parametrize("name", SPACES)
def test_every_space_can_be_drawn(name, tmp_path):
    space = SPACES[name]()
    draw(space, space.random(Random(0)), tmp_path / "a.svg", title=name)
    assert name in words(tmp_path / "a.svg")


def test_cells_show_every_operation(tmp_path):
    card = load_card("darts-v2")
    draw(card_space(card), card.arch, tmp_path / "a.svg", title="darts-v2")
    found = words(tmp_path / "a.svg")
    for operation in {value for value in card.arch.values() if isinstance(value, str)}:
        assert found.count(operation) == list(card.arch.values()).count(operation)
    assert {"normal cell", "reduce cell"} <= set(found)


def test_unused_nodes_of_nasbench101_are_not_drawn():
    arch = {"cell/num_nodes": 4, "cell/op1": "conv3x3-bn-relu", "cell/op2": "maxpool3x3"}
    arch |= {"cell/input1": [0], "cell/input2": [0], "cell/input3": [1]}
    (cell,) = NasBench101().cells(arch).values()
    assert cell.nodes == ("input", "conv3x3-bn-relu", "output")
    assert cell.edges == ((0, 1, ""), (1, 2, ""))


def test_blocks_in_the_order_of_a_image():
    card = load_card("mobilenetv3-small-100")
    chain = block_outlines(card_space(card).freeze(card.arch), card_space(card).cost_inputs())
    assert [block.shape[0] for block in chain] == [16, 16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96, 576, 1024, 1000]
    assert [block.kernel for block in chain[:5]] == [3, 3, 3, 3, 5]
    assert [block.attention for block in chain[:5]] == [False, True, False, False, True]
    assert chain[-1].kind == "Linear"


def test_formats(tmp_path):
    card = load_card("spos")
    draw(card_space(card), card.arch, tmp_path / "a.png", title="spos")
    assert Image.open(tmp_path / "a.png").width > 800
    with pytest.raises(OutputError, match=r"must end in one of \.svg"):
        draw(card_space(card), card.arch, tmp_path / "a.gif", title="spos")
    with pytest.raises(OutputError, match=r"cannot write .*none.*: No such file or directory"):
        draw(card_space(card), card.arch, tmp_path / "none" / "a.png", title="spos")


def test_the_same_arch_gives_the_same_file(tmp_path):
    card = load_card("spos")
    for name in ("a.svg", "b.svg"):
        draw(card_space(card), card.arch, tmp_path / name, title="spos")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
