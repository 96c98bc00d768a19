"""The operations and predictors of LightSpeech (Luo et al. 2021, https://arxiv.org/abs/2102.04040).

Each is called with sequences and with a mask of the steps that are no padding. Unless said otherwise, the output of a step does
not depend on how much padding follows the sequence.
"""

import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.fast_layers import layer_norm, linear
from hubserve.blocks.masked_attention import MaskedSelfAttention, xavier_linear
from hubserve.blocks.sequences import SeparableConv1d, running_positions, sinusoids


class PreNormConvolutions(nn.Module):
    """Returns x + r, where r is layer norm and two separable convolutions, each followed by ReLU and dropout.

    Args:
        dim: Number of channels.
        kernel: Number of steps that a convolution sees, odd.
        dropout: Dropout probability after each ReLU.
        mask_padding: Whether the second convolution reads 0 in place of padding, as the first one does. If not, as in the
            original code, the last steps of a sequence depend on whether padding follows.

    Shapes:
        forward: x (batch, steps, dim) and keep (batch, steps), False for padding -> (batch, steps, dim).

    Raises:
        SpaceError: `kernel` is even.
    """

    def __init__(self, dim: int, *, kernel: int, dropout: float = 0.0, mask_padding: bool = True) -> None:
        super().__init__()
        self.mask_padding = mask_padding
        self.layer_norm = layer_norm(dim)
        self.conv1 = SeparableConv1d(dim, kernel, dropout=dropout)
        self.conv2 = SeparableConv1d(dim, kernel, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        kept = keep.unsqueeze(1).to(x.dtype)
        y = self.layer_norm(x).transpose(1, 2) * kept
        y = self.dropout(functional.relu(self.conv1(y)))
        if self.mask_padding:
            y = y * kept
        y = self.dropout(functional.relu(self.conv2(y)))
        return x + y.transpose(1, 2)


class PreNormAttention(nn.Module):
    """Returns x + attention(layer_norm(x)); the attention has no biases.

    Args:
        dim: Number of channels.
        n_heads: Number of heads; it must divide `dim`, which the caller checks: the heads have `dim // n_heads` channels.
        dropout: Dropout probability of the output of the attention.

    Shapes:
        forward: x (batch, steps, dim) and keep (batch, steps), False for padding -> (batch, steps, dim).
    """

    def __init__(self, dim: int, *, n_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.self_attn = MaskedSelfAttention(dim, head_dim=dim // n_heads, bias=False)
        self.self_attn_layer_norm = layer_norm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), keep))


class PreNormFeedForward(nn.Module):
    """Returns x + linear(relu(convolution(layer_norm(x)))).

    Args:
        dim: Number of channels.
        hidden: Number of channels between convolution and linear layer.
        kernel: Number of steps that the convolution sees, odd.
        dropout: Dropout probability after the ReLU and after the linear layer.

    Shapes:
        forward: x (batch, steps, dim) and keep (batch, steps), False for padding -> (batch, steps, dim).
    """

    def __init__(self, dim: int, *, hidden: int, kernel: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer_norm = layer_norm(dim)
        self.ffn_1 = conv1d(dim, hidden, kernel)
        self.ffn_2 = xavier_linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        y = self.layer_norm(x) * keep.unsqueeze(-1).to(x.dtype)
        y = self.dropout(functional.relu(self.ffn_1(y.transpose(1, 2)).transpose(1, 2)))
        return x + self.dropout(self.ffn_2(y))


class SkippedLayer(nn.Module):
    """Returns its input: an operation without a layer.

    Shapes:
        forward: x (batch, steps, dim) and keep (batch, steps), which is not used -> (batch, steps, dim).
    """

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return x


class SequencePredictor(nn.Module):
    """Predicts numbers for each step of a sequence by separable convolutions and a linear layer.

    Each convolution is followed by ReLU, layer norm and dropout.

    Args:
        dim: Number of channels of the sequence and of the convolutions.
        n_out: Number of predicted numbers for each step.
        layers: Number of convolutions.
        kernel: Number of steps that a convolution sees, odd.
        dropout: Dropout probability after each layer norm.
        mask_padding: Whether the outputs of each convolution are 0 for padding. If not, as in the original pitch predictor, the
            last steps of a sequence depend on whether padding follows.
        positions: Whether embeddings of the steps' positions, multiplied by a learned factor, are added to the sequence.

    Shapes:
        forward: x (batch, steps, dim), 0 for padding, and keep (batch, steps), False for padding -> (batch, steps, n_out). The
            numbers of padding mean nothing: with `mask_padding` they are the bias of the linear layer, else anything.

    Raises:
        SpaceError: `kernel` is even.
    """

    def __init__(
        self,
        dim: int,
        n_out: int,
        *,
        layers: int,
        kernel: int,
        dropout: float,
        mask_padding: bool = True,
        positions: bool = False,
    ) -> None:
        super().__init__()
        self.mask_padding = mask_padding
        self.positions = ScaledPositions(dim) if positions else None
        self.convolutions = nn.ModuleList(SeparableConv1d(dim, kernel) for _ in range(layers))
        self.norms = nn.ModuleList(layer_norm(dim, eps=1e-12) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.linear = linear(dim, n_out)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        if self.positions is not None:
            x = self.positions(x, keep)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.dropout(norm(functional.relu(convolution(x.transpose(1, 2))).transpose(1, 2)))
            if self.mask_padding:
                x = x * keep.unsqueeze(-1).to(x.dtype)
        return self.linear(x)


class ScaledPositions(nn.Module):
    """Adds sinusoids of the positions of steps, multiplied by a learned factor, which is 1 at first; adds 0 to padding.

    Args:
        dim: Number of channels, even and at least 4.

    Shapes:
        forward: x (batch, steps, dim) and keep (batch, steps), False for padding -> (batch, steps, dim).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.pos_embed_alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return x + self.pos_embed_alpha * sinusoids(running_positions(keep), self.dim).to(x.dtype)


def conv1d(c_in: int, c_out: int, kernel: int) -> nn.Conv1d:
    """Returns a convolution with torch's default initialisation, which keeps the number of steps if `kernel` is odd."""
    return nn.Conv1d(c_in, c_out, kernel, padding=kernel // 2)


def frame_steps(durations: torch.Tensor) -> torch.Tensor:
    """Returns the step to which each frame belongs, counted from 1, if step i lasts for durations[:, i] frames; 0 for padding.

    The number of frames is that of the longest sequence of the batch. The function can be exported with dynamic lengths by
    torch.export, ONNX and torch.jit.trace.

    Args:
        durations: Numbers of frames (batch, steps), int64.

    Returns:
        An int64 tensor (batch, frames).
    """
    ends = durations.cumsum(1)
    frames = torch.arange(ends[:, -1].max(), device=durations.device)  # type: ignore[call-overload] # A tensor is an int here.
    step = (frames[None, :, None] >= ends[:, None, :]).sum(-1) + 1
    return step * (frames[None] < ends[:, -1:])
