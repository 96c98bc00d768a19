"""Context manager in which the weights of depthwise convolutions with wide kernels get their gradients sooner, on the CPU."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]
"""Numbers for rows and for columns."""

WIDEST = 3
"""Number of columns of the widest kernel for which oneDNN (of torch 2.14.1) has code of its own for depthwise weights.

For wider ones it takes the code of dense convolutions, which is 2 to 20 times as slow as three columns at a time."""

FEWEST_CHANNELS = 48
"""Number of channels of a wide depthwise layer without which a network is left to PyTorch.

The detour of all functions of PyTorch through Python costs 5 % to 10 % in networks of many small layers, such as cells of 8 to
32 channels, and their convolutions give nothing back."""

FEWEST_OUTPUTS = 2**16
"""Number of outputs below which the gradient takes less time at once than in parts."""

NUMBERS = 2**20
"""Number of inputs of which the gradient is computed at a time: padded copies of more leave the caches of the CPU."""


@contextmanager
def faster_depthwise_gradients(network: nn.Module) -> Iterator[None]:
    """Context manager in which wide depthwise convolutions compute the gradient of their weights `WIDEST` columns at a time.

    Outputs and gradients of the inputs are those of PyTorch, and gradients of weights differ by rounding alone. It acts on what
    runs forward in it: on two-dimensional convolutions of float32 with a stride of 1 or 2 and no dilation, of images wider
    than half of the kernel and of at least `FEWEST_OUTPUTS` outputs. Elsewhere than on an x86 CPU, under autocast, and for
    networks without a wide depthwise layer of `FEWEST_CHANNELS`, it changes nothing.

    Args:
        network: Network or supernet on the CPU that is trained.
    """
    shapes = (tensor.shape for tensor in network.parameters())
    has_wide = any(len(s) == 4 and s[0] >= FEWEST_CHANNELS and s[1] == 1 and s[3] > WIDEST for s in shapes)
    is_x86 = torch.backends.mkldnn.is_available() and "AVX" in torch.backends.cpu.get_cpu_capability()  # type: ignore[no-untyped-call]
    with _Conv2dReplaced() if has_wide and is_x86 else nullcontext():
        yield


class _Conv2dReplaced(TorchFunctionMode):
    """Mode in which `torch.conv2d` of a wide depthwise convolution is `_WideDepthwise`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d and not kwargs and len(args) == 7 and _gains(*args):
            x, weight, bias, stride, padding, *_ = args
            return _WideDepthwise.apply(x, weight, bias, stride, padding)
        return func(*args, **(kwargs or {}))


def _gains(x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    """Whether a call of `torch.conv2d` with these arguments, as `torch.nn.Conv2d` gives them, gets its gradient sooner."""
    return (
        weight.shape[3] > WIDEST
        and 1 < groups == len(weight) == x.shape[1]
        and stride in ((1, 1), (2, 2))
        and x.numel() >= FEWEST_OUTPUTS * stride[0] * stride[1]
        and dilation == (1, 1)
        and isinstance(padding, tuple)
        and x.dim() == 4
        and x.shape[3] > max(padding[1], weight.shape[3] - 1 - padding[1])
        and x.dtype == weight.dtype == torch.float32
        and weight.requires_grad
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


class _WideDepthwise(Function):
    """Depthwise convolution whose weights get the gradient of `_weight_gradient`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        return (
            _gradients(x, weight, gradient, ctx.stride, ctx.padding, of=0) if of_x else None,
            _weight_gradient(x, weight, gradient, ctx.stride, ctx.padding) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


def _weight_gradient(x: Tensor, weight: Tensor, gradient: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Gradient of the weights, of the shape of `weight`: that of some columns is that of a narrower convolution."""
    rows, columns = weight.shape[2:]
    # The code for depthwise weights takes few rows outside of the image: where there are more, they are added here.
    is_taken = x.shape[2] >= rows and padding[0] <= (2 if stride[0] > 1 else rows)
    outside = 0 if is_taken else padding[0]
    inside = padding[0] - outside, 0
    images = max(1, NUMBERS // x[0].numel())
    parts, first = [], 0
    for narrow in weight.tensor_split(ceil(columns / WIDEST), dim=3):
        end = first + (gradient.shape[3] - 1) * stride[1] + narrow.shape[3]
        added = padding[1] - first, end - padding[1] - x.shape[3], outside, outside
        part = torch.zeros_like(narrow)
        for i in range(0, len(x), images):
            seen = functional.pad(x[i : i + images], added)
            part = part + _gradients(seen, narrow, gradient[i : i + images], stride, inside, of=1)
        parts.append(part)
        first += narrow.shape[3]
    return torch.cat(parts, dim=3)


def _gradients(x: Tensor, weight: Tensor, gradient: Tensor, stride: Pair, padding: Pair, *, of: int) -> Tensor:
    """Gradient of a depthwise convolution, of its input (`of` 0) or of its weights (1)."""
    mask = [place == of for place in range(3)]
    operator = torch.ops.aten.convolution_backward
    found: Tensor = operator(gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), mask)[of]
    return found
