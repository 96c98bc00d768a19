"""Blocks of ShuffleNetV2 by hand: who passes by, what is worked on, and that two blocks in a row mix the halves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hubserve.blocks import ShuffleBlock, shuffle_block, xception_block
from hubserve.errors import SpaceError

KINDS = {
    **{f"k{k}": lambda c_in, c_mid, c_out, k=k, **o: shuffle_block(c_in, c_mid, c_out, k, **o) for k in (3, 5, 7)},
    "xcep": xception_block,
}


def fresh(block: nn.Module) -> nn.Module:
    """Weights and statistics that are no identities."""
    torch.manual_seed(0)
    for name, tensor in block.state_dict().items():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5) if "running_var" in name else nn.init.normal_(tensor, std=0.5)
    return block.eval()


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    @pytest.mark.parametrize(
        ("c_in", "c_out", "stride", "size"), [(8, 8, 1, 7), (8, 12, 1, 8), (6, 16, 2, 8), (6, 16, 2, 7), (5, 9, 2, 5)]
    )
    def test_shape(self, kind, c_in, c_out, stride, size):
        block = KINDS[kind](c_in, 4, c_out, stride=stride)
        half = -(-size // stride)
        assert fresh(block)(torch.randn(2, c_in, size, size)).shape == (2, c_out, half, half)

    def test_even_channels_pass_by(self, kind):
        block, x = fresh(KINDS[kind](8, 4, 8)), torch.randn(2, 8, 5, 5)
        y = block(x)
        assert torch.equal(y[:, :4], x[:, [0, 2, 4, 6]])
        torch.testing.assert_close(y[:, 4:], block.branch_main(x[:, [1, 3, 5, 7]]))
        assert list(block.branch_proj) == []

    def test_at_stride_2_both_branches_see_all(self, kind):
        block, x = fresh(KINDS[kind](4, 4, 8, stride=2)), torch.randn(2, 4, 6, 6)
        torch.testing.assert_close(block(x), torch.cat([block.branch_proj(x), block.branch_main(x)], 1))
        convs = [m for m in block.branch_proj if isinstance(m, nn.Conv2d)]
        kernel = 3 if kind == "xcep" else int(kind[1:])
        assert [c.kernel_size[0] for c in convs] == [kernel, 1]
        assert [c.stride[0] for c in convs] == [2, 1]

    def test_norms_without_weights(self, kind):
        block = KINDS[kind](4, 4, 8, stride=2, affine=False)
        assert all(not m.affine for m in block.modules() if isinstance(m, nn.BatchNorm2d))

    def test_script(self, kind):
        for stride in (1, 2):
            block, x = fresh(KINDS[kind](4, 4, 8, stride=stride)), torch.randn(2, 4, 5, 5)
            torch.testing.assert_close(torch.jit.script(block)(x), block(x))

    @pytest.mark.parametrize(
        ("c_in", "c_out", "stride", "message"),
        [
            (7, 8, 1, "stride 1 halves its input channels, and 7 is odd"),
            (8, 4, 1, "needs more than 4 output channels, found 4"),
            (8, 8, 2, "8 input channels at stride 2 needs more than 8"),
            (8, 16, 3, "stride 1 or 2, not 3"),
        ],
    )
    def test_what_does_not_fit(self, kind, c_in, c_out, stride, message):
        with pytest.raises(SpaceError, match=message):
            KINDS[kind](c_in, 4, c_out, stride=stride)


def layers(block: ShuffleBlock) -> list[tuple[int, int, int, bool]]:
    """(channels in, channels out, kernel, whether depthwise) of each convolution of the main branch."""
    convs = [m for m in block.branch_main if isinstance(m, nn.Conv2d)]
    return [(c.in_channels, c.out_channels, c.kernel_size[0], c.groups > 1) for c in convs]


def test_parts_in_order():
    assert layers(shuffle_block(8, 6, 20, 5)) == [(4, 6, 1, False), (6, 6, 5, True), (6, 16, 1, False)]
    assert layers(xception_block(8, 6, 20)) == [
        (4, 4, 3, True),
        (4, 6, 1, False),
        (6, 6, 3, True),
        (6, 6, 1, False),
        (6, 6, 3, True),
        (6, 16, 1, False),
    ]


def test_no_activation_behind_a_depthwise_convolution():
    for block in (shuffle_block(8, 6, 20, 3), xception_block(8, 6, 20)):
        kinds = [type(m).__name__ for m in block.branch_main]
        assert len(kinds) == sum(2 if depthwise else 3 for *_, depthwise in layers(block))
        assert kinds.count("ReLU") == sum(not depthwise for *_, depthwise in layers(block))


def test_weights_of_the_xception_block():
    c, mid, out = 4, 6, 16
    expected = 9 * c + c * mid + 9 * mid + mid * mid + 9 * mid + mid * out + 2 * (c + mid + mid + mid + mid + out)
    assert sum(p.numel() for p in xception_block(8, 6, 20).parameters()) == expected


def test_two_blocks_in_a_row_mix_what_passed_by():
    """What a first block lets pass reaches the main branch of the second: the shuffle, put off."""
    first, second = fresh(shuffle_block(4, 4, 4, 3)), fresh(shuffle_block(4, 4, 4, 3))
    x = torch.randn(1, 4, 5, 5).requires_grad_()
    worked_on = first(x)[:, 1::2]
    second(first(x))[:, 2:].sum().backward()
    assert (x.grad[:, 2] != 0).any()
    torch.testing.assert_close(worked_on[:, 0], x[:, 2])


def test_an_even_kernel():
    with pytest.raises(SpaceError, match="kernel = 4 must be odd"):
        shuffle_block(8, 4, 8, 4)
