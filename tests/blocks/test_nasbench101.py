"""The cell of NAS-Bench-101 by hand: who has how many channels, what is summed, cut off and concatenated."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from hubserve.blocks import ConvStyle, NasBench101Cell
from hubserve.blocks.nasbench101 import NASBENCH101_OPERATIONS, ConvBnRelu, vertex_channels
from hubserve.errors import SpaceError

STYLE = ConvStyle()
NAMES = tuple(NASBENCH101_OPERATIONS)


@st.composite
def pruned_cells(draw) -> tuple[list[str], list[list[int]]]:
    """Operations and sources of a cell in which each vertex is fed and feeds another one."""
    inner = draw(st.integers(0, 5))
    output = inner + 1
    edges = {(s, t) for t in range(1, output + 1) for s in range(t) if draw(st.booleans())}
    for vertex in range(1, output + 1):
        if not any(t == vertex for _, t in edges):
            edges.add((draw(st.integers(0, vertex - 1)), vertex))
    for vertex in range(1, output):
        if not any(s == vertex for s, _ in edges):
            edges.add((vertex, draw(st.integers(vertex + 1, output))))
    sources = [sorted(s for s, t in edges if t == vertex) for vertex in range(1, output + 1)]
    return [draw(st.sampled_from(NAMES)) for _ in range(inner)], sources


class TestChannels:
    def test_the_output_is_shared_and_the_first_have_the_rest(self):
        # Vertices 1, 2 and 3 feed the output, vertex 4.
        assert vertex_channels(16, 32, [[0], [0], [1], [1, 2, 3]]) == [16, 11, 11, 10, 32]

    def test_others_have_as_many_as_the_largest_they_feed(self):
        # 3 and 4 feed the output, 2 feeds both and 1 feeds 2.
        assert vertex_channels(16, 33, [[0], [1], [2], [2], [3, 4]]) == [16, 17, 17, 17, 16, 33]

    @given(pruned_cells(), st.integers(5, 40))
    def test_rules(self, cell, c_out):
        _, sources = cell
        output = len(sources)
        channels = vertex_channels(7, c_out, sources)
        feeding = [s for s in sources[-1] if s]
        shares = [channels[v] for v in feeding]
        assert (channels[0], channels[-1]) == (7, c_out)
        assert not feeding or (sum(shares) == c_out and max(shares) - min(shares) <= 1 and shares == sorted(shares)[::-1])
        for vertex in range(1, output):
            if vertex not in feeding:
                fed = [t for t in range(1, output) if vertex in sources[t - 1]]
                assert channels[vertex] == max(channels[t] for t in fed)


def by_hand(cell: NasBench101Cell, names, sources, x):
    """Vertex by vertex, from the weights of the cell."""

    def project(vertex):
        return cell.projections[vertex](x)

    def run(vertex):
        total = 0
        for source in sources[vertex - 1]:
            part = project(vertex) if source == 0 else outputs[source][:, : cell.channels[vertex]]
            total = total + part
        if names[vertex - 1] == "maxpool3x3":
            return functional.max_pool2d(total, 3, 1, 1)
        return cell.ops[vertex](total)

    outputs = {}
    for vertex in range(1, len(sources)):
        outputs[vertex] = run(vertex)
    inner = [outputs[s] for s in sources[-1] if s]
    result = torch.cat(inner, 1) if inner else 0
    return result + project(len(sources)) if 0 in sources[-1] else result


@given(pruned_cells(), st.integers(5, 9), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_any_pruned_cell(cell, c_out, seed):
    names, sources = cell
    torch.manual_seed(seed)
    net = NasBench101Cell(4, c_out, operations=names, sources=sources, style=STYLE).eval()
    x = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        y = net(x)
        assert y.shape == (2, c_out, 5, 5)
        torch.testing.assert_close(y, by_hand(net, names, sources, x))


def test_an_input_alone_is_projected():
    cell = NasBench101Cell(4, 6, operations=[], sources=[[0]], style=STYLE).eval()
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(cell(x), cell.projections[1](x))


class TestConvBnRelu:
    @pytest.mark.parametrize("kernel", [1, 3])
    def test_in_order(self, kernel):
        block = ConvBnRelu(3, 5, kernel, style=ConvStyle(bn_eps=1e-3)).eval()
        conv, norm, _ = block.conv_bn_relu
        nn.init.normal_(norm.bias)
        x = torch.randn(2, 3, 6, 6)
        expected = functional.conv2d(x, conv.weight, padding=kernel // 2) / (1 + 1e-3) ** 0.5 + norm.bias[:, None, None]
        torch.testing.assert_close(block(x), expected.relu())
        assert conv.bias is None

    def test_first_weights(self):
        torch.manual_seed(0)
        weight = ConvBnRelu(64, 128, 3, style=STYLE).conv_bn_relu[0].weight
        deviation = (64 * 9) ** -0.5
        assert weight.abs().max() <= 2 * deviation
        # A normal distribution cut off at two deviations has 0.88 of the deviation.
        assert weight.std().item() == pytest.approx(0.8796 * deviation, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operations": ["conv3x3"]}, "no operation 'conv3x3'. Did you mean conv3x3-bn-relu"),
        ({"operations": []}, "a cell with 0 operations needs the sources of 1 vertices, .* and 2 are given"),
        ({"sources": [[0], [0]]}, "vertex 1 of a cell feeds no other; prune the cell first"),
        ({"sources": [[], [0, 1]]}, r"vertex 1 of a cell has the sources \[\]"),
        ({"sources": [[1], [1]]}, r"vertex 1 of a cell has the sources \[1\]; give some of 0 to 0"),
        ({"c_out": 0}, "1 vertices of a cell share its c_out = 0 output channels"),
    ],
)
def test_errors(change, message):
    with pytest.raises(SpaceError, match=message):
        NasBench101Cell(
            **{"c_in": 4, "c_out": 4, "operations": ["maxpool3x3"], "sources": [[0], [1]], "style": STYLE, **change}
        )
