"""Fits a smaller inverted residual to the outputs of a larger one: `fit_block`, and how near it can come, `block_error`."""

import copy
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from hubserve.blocks.mobile import MobileBlock, SqueezeExcite
from hubserve.supernet.least_squares import LeastSquares

CHUNK = 32
"""Number of images whose hidden channels are computed at a time."""

MOST_ROWS = 40_000
"""Largest number of pixels of all images on which a block is fitted; of more, some are drawn at random."""


def block_error(whole: MobileBlock, block: MobileBlock, inputs: Tensor, targets: Tensor) -> float:
    """Returns the squared error that remains when a smaller block is fitted, as a share of the variance of its targets.

    Args:
        whole: The block of the trained network.
        block: A block with fewer hidden channels or a smaller kernel; its weights are not used.
        inputs: Inputs of the block, (n, c_in, height, width).
        targets: What its outputs should be, (n, c_out, height, width).
    """
    wide = _with_kernel_of(block, whole, inputs.shape[1])
    sums = _sums(wide, inputs, targets)
    kept = _chosen(sums, block)
    variance = float(targets.float().var((0, 2, 3)).sum())
    return sums.of(kept).fit(_last_weight(wide, kept, targets.shape[1])).error / max(variance, 1e-12)


def fit_block(whole: MobileBlock, block: MobileBlock, inputs: Tensor, targets: Tensor) -> None:
    """Gives a smaller block the weights with which its outputs come near to the targets.

    The hidden channels are those of the whole block from which the targets can be fitted best, with the middle of their
    kernels; the last convolution and its batch norm are then fitted by least squares (He et al. 2017, "Channel Pruning for
    Accelerating Very Deep Neural Networks", section 3.2, which chooses the channels by LASSO instead). The running statistics
    of the last batch norm are those of the fitted outputs, so that the block computes the same in training mode.

    Arguments are those of `block_error`; `block` is changed in place. If `inputs` has fewer channels than those of the whole
    block, they are its first ones, and likewise `targets`.
    """
    wide = _with_kernel_of(block, whole, inputs.shape[1])
    kept = _chosen(_sums(wide, inputs, targets), block)
    _copy_hidden(wide, block, kept)
    found = _sums(block, inputs, targets).fit(_last_weight(wide, kept, targets.shape[1]))
    convolution, norm = _last_layers(block)
    convolution.weight.copy_(found.weight.T[:, :, None, None])
    values = {
        "running_mean": found.mean - found.bias,
        "running_var": found.variance,
        "weight": (found.variance + norm.eps).sqrt(),
        "bias": found.mean,
    }
    for name, tensor in norm.state_dict().items():
        tensor.copy_(values.get(name, tensor))


def in_chunks(images: Tensor) -> Iterator[Tensor]:
    """Yields batches of at most `CHUNK` images, with the channels last."""
    for chunk in images.split(CHUNK):  # type: ignore[no-untyped-call]
        yield chunk.contiguous(memory_format=torch.channels_last)


def _chosen(sums: LeastSquares, block: MobileBlock) -> Tensor:
    """Returns the indices of the hidden channels that a block gets: all of them if it starts with a depthwise convolution."""
    hidden = _last_layers(block)[0].in_channels
    return torch.arange(hidden) if _depthwise(block) == 0 else sums.most_useful(hidden)


def _last_weight(block: MobileBlock, kept: Tensor, c_out: int) -> Tensor:
    """Returns the weights of the last convolution times the scale of its batch norm, (len(kept), c_out)."""
    convolution, norm = _last_layers(block)
    scale = norm.weight / (cast(Tensor, norm.running_var) + norm.eps).sqrt()
    return (convolution.weight.flatten(1) * scale[:, None]).T[kept, :c_out]


def _last_layers(block: MobileBlock) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Returns the last convolution of a block and its batch norm."""
    return cast(nn.Conv2d, block[-2]), cast(nn.BatchNorm2d, block[-1])


def _sums(block: MobileBlock, inputs: Tensor, targets: Tensor) -> LeastSquares:
    hidden, sums = nn.Sequential(*list(block)[:-2]), LeastSquares(_last_layers(block)[0].in_channels, targets.shape[1])
    pixels = targets.shape[2] * targets.shape[3]
    share = min(1.0, MOST_ROWS / (len(inputs) * pixels))
    generator = torch.Generator().manual_seed(0)
    for chunk, wanted in zip(in_chunks(inputs), in_chunks(targets), strict=True):
        chunk, wanted = chunk.float(), wanted.float()
        of_chunk, wanted = hidden(chunk), wanted - chunk if block.residual else wanted
        rows, wanted_rows = (maps.permute(0, 2, 3, 1).flatten(0, 2) for maps in (of_chunk, wanted))
        if share < 1:
            drawn = torch.randperm(len(rows), generator=generator)[: max(1, round(share * len(rows)))]
            rows, wanted_rows = rows[drawn], wanted_rows[drawn]
        sums.add(rows, wanted_rows)
    return sums


def _depthwise(block: MobileBlock) -> int:
    """Returns the index of the depthwise convolution of a block: 0, or that of the first layer after its expansion."""
    return next(i for i, layer in enumerate(block) if isinstance(layer, nn.Conv2d) and layer.groups > 1)


def _with_kernel_of(block: MobileBlock, whole: MobileBlock, c_in: int) -> MobileBlock:
    """Returns a copy of the whole block with the kernel size of another one, for inputs with the first `c_in` channels."""
    wide = copy.deepcopy(whole)
    place = _depthwise(whole)
    if place == 0:
        _copy_hidden(whole, smaller := copy.deepcopy(block), torch.arange(c_in))
        smaller[-2], smaller[-1] = copy.deepcopy(whole[-2]), copy.deepcopy(whole[-1])
        return smaller
    expand, depthwise = cast(nn.Conv2d, wide[0]), cast(nn.Conv2d, wide[place])
    expand.weight.data = expand.weight.data[:, :c_in].contiguous()
    expand.in_channels = c_in
    # The convolution of the other block, which has its padding, with the channels of this one.
    wide[place] = other = cast(nn.Conv2d, copy.deepcopy(block[place]))
    other.in_channels = other.out_channels = other.groups = depthwise.groups
    other.weight.data = middle(depthwise.weight.data, other.kernel_size[0])
    wide.residual = block.residual
    return wide


def middle(kernels: Tensor, size: int) -> Tensor:
    """Returns the middle of kernels.

    Args:
        kernels: (..., height, width).
        size: Height and width of the result.
    """
    first = (kernels.shape[-1] - size) // 2
    return kernels[..., first : first + size, first : first + size].contiguous()


def _copy_hidden(wide: MobileBlock, block: MobileBlock, kept: Tensor) -> None:
    """Copies the layers before the last convolution, with the hidden channels `kept`."""
    for source, layer in zip(list(wide)[:-2], list(block)[:-2], strict=True):
        if isinstance(layer, nn.Conv2d):
            weight = cast(nn.Conv2d, source).weight[kept]
            layer.weight.copy_(middle(weight, layer.kernel_size[0])[:, : layer.weight.shape[1]])
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            for name, tensor in layer.state_dict().items():
                value = source.state_dict()[name]
                tensor.copy_(value[kept] if value.dim() else value)
        elif isinstance(layer, SqueezeExcite):
            _copy_squeeze(cast(SqueezeExcite, source), layer, kept)


def _copy_squeeze(source: SqueezeExcite, layer: SqueezeExcite, kept: Tensor) -> None:
    """Copies a squeeze-and-excite with the channels `kept`, and between its convolutions those with the largest weights."""
    weights = source.conv_expand.weight[kept].abs().sum((0, 2, 3))
    squeezed = weights.topk(layer.conv_reduce.out_channels).indices.sort().values
    for name, rows, columns in (("conv_reduce", squeezed, kept), ("conv_expand", kept, squeezed)):
        given, found = source.get_submodule(name).state_dict(), layer.get_submodule(name).state_dict()
        found["weight"].copy_(given["weight"][rows][:, columns])
        found["bias"].copy_(given["bias"][rows])
