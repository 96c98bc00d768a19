"""The network of LightSpeech (`LightSpeechNet`): encoder, predictors of durations and pitch, and decoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.fast_init import init_normal
from hubserve.blocks.fast_layers import bare, layer_norm
from hubserve.blocks.lightspeech import ScaledPositions, SequencePredictor, frame_steps
from hubserve.blocks.masked_attention import xavier_linear
from hubserve.blocks.sequences import running_positions, sinusoids

LOWEST_PITCH, HIGHEST_PITCH = 50.0, 1100.0
"""Frequencies in Hz of the lowest and the highest bin of the pitch."""

N_PITCH_BINS = 255
"""Index of the highest bin of the pitch; the lowest one has index 1 and is for frames without voice, too."""


USUAL_PITCH = (220.0, 50.0)
"""Mean and standard deviation in Hz of the fundamental frequency of a voice that is not known."""


class Speech(NamedTuple):
    """What `LightSpeechNet` computes for a batch of phonemes.

    Attributes:
        mel: Mel spectrogram (batch, frames, mel_bins); 0 for padding.
        durations: Predicted number of frames of each phoneme (batch, length), int64; 0 for padding. If the prediction is 0 for
            all phonemes of a sequence, each of them has 1.
        log_durations: Prediction of log(1 + duration) (batch, length); 0 for padding.
        pitch: Predicted pitch (batch, frames, 2): the normalised fundamental frequency, and a logit of a frame without voice.
        f0: Fundamental frequency in Hz (batch, frames), given or predicted; 1 for frames without voice and 0 for padding.
        bins: Index of the pitch embedding of each frame (batch, frames), int64, from 1; see `pitch_bins`.
        decoder_input: Input of the decoder (batch, frames, hidden_size); 0 for padding.
    """

    mel: torch.Tensor
    durations: torch.Tensor
    log_durations: torch.Tensor
    pitch: torch.Tensor
    f0: torch.Tensor
    bins: torch.Tensor
    decoder_input: torch.Tensor


class LightSpeechNet(nn.Module):
    """The network of one arch of LightSpeech.

    In eval mode it computes durations and pitch itself unless they are given. In train mode, `mel2ph` must be given, since the
    loss compares frames (this is not checked), and the predictions are returned from which the other parts of the loss are
    computed.

    Args:
        encoder: The encoder of phonemes.
        decoder: The decoder of frames.
        dur_predictor: Predicts log(1 + duration) of each phoneme from the encoded phonemes.
        pitch_predictor: Predicts the pitch of each frame, and a logit of a frame without voice.
        mel_bins: Number of frequency bands of the spectrogram.
        pitch_bins: Number of embeddings of pitches.
        pitch_dropout: Dropout probability of these embeddings.
        f0_mean: Mean fundamental frequency in Hz.
        f0_std: Standard deviation of the fundamental frequency in Hz.
        spk_embed_proj: Whether the network has a linear layer for speakers, which it does not use.

    Shapes:
        forward: the arguments of `speech`, or one tuple of them -> in eval mode, mel (batch, frames, mel_bins) and predicted
            durations (batch, length) int64; in train mode, mel, the prediction of log(1 + duration) (batch, length), and the
            predicted pitch (batch, frames, 2).
    """

    def __init__(
        self,
        encoder: PhonemeEncoder,
        decoder: FrameDecoder,
        dur_predictor: SequencePredictor,
        pitch_predictor: SequencePredictor,
        *,
        mel_bins: int,
        pitch_bins: int,
        pitch_dropout: float,
        f0_mean: float,
        f0_std: float,
        spk_embed_proj: bool,
    ) -> None:
        super().__init__()
        dim = encoder.dim
        self.f0_mean, self.f0_std = f0_mean, f0_std
        self.encoder, self.decoder = encoder, decoder
        self.mel_out = xavier_linear(dim, mel_bins)
        if spk_embed_proj:
            self.spk_embed_proj = xavier_linear(dim, dim)
        self.dur_predictor, self.pitch_predictor = dur_predictor, pitch_predictor
        self.pitch_embed = embedding(pitch_bins, dim)
        self.pitch_dropout = nn.Dropout(pitch_dropout)

    def forward(
        self,
        tokens: torch.Tensor | Sequence[torch.Tensor],
        mel2ph: torch.Tensor | None = None,
        pitch: torch.Tensor | None = None,
        uv: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        if not isinstance(tokens, torch.Tensor):
            return self.forward(*tokens)
        found = self.speech(tokens, mel2ph, pitch, uv)
        return (found.mel, found.log_durations, found.pitch) if self.training else (found.mel, found.durations)

    def speech(
        self,
        tokens: torch.Tensor,
        mel2ph: torch.Tensor | None = None,
        pitch: torch.Tensor | None = None,
        uv: torch.Tensor | None = None,
    ) -> Speech:
        """Returns the spectrogram and everything that is computed on the way to it.

        Args:
            tokens: Ids of phonemes (batch, length), int64; 0 is padding.
            mel2ph: For each frame, the index of its phoneme in the sequence, counted from 1; 0 is padding. (batch, frames),
                int64. None computes it from the predicted durations.
            pitch: Normalised fundamental frequency of each frame (batch, frames); None takes the predicted one.
            uv: Above 0 for frames without voice (batch, frames). None takes the prediction if `pitch` is None, and no frame
                otherwise.
        """
        keep = tokens != 0
        encoded = self.encoder(tokens, keep)
        log_durations = self.dur_predictor(encoded.detach(), keep).squeeze(-1) * keep.to(encoded.dtype)
        durations = (log_durations.exp() - 1).round().clamp(min=0).long()
        durations = torch.where(durations.sum(1, keepdim=True) == 0, keep.long(), durations)
        steps = frame_steps(durations) if mel2ph is None else mel2ph
        frames = steps > 0
        kept = frames.unsqueeze(-1).to(encoded.dtype)
        with_padding = functional.pad(encoded, (0, 0, 1, 0))
        x = with_padding.gather(1, steps.unsqueeze(-1).expand(-1, -1, encoded.shape[2]))
        predicted = self.pitch_predictor(x.detach(), frames)
        f0 = self._frequencies(predicted[..., 0] if pitch is None else pitch, _unvoiced(predicted, pitch, uv), frames)
        bins = pitch_bins(f0)
        x = (x + self.pitch_dropout(self.pitch_embed(bins))) * kept
        return Speech(self.mel_out(self.decoder(x, frames)) * kept, durations, log_durations, predicted, f0, bins, x)

    def _frequencies(self, pitch: torch.Tensor, unvoiced: torch.Tensor | None, frames: torch.Tensor) -> torch.Tensor:
        """Returns the frequencies in Hz (batch, frames) of the normalised `pitch`; see `Speech.f0`."""
        f0 = pitch * self.f0_std + self.f0_mean
        if unvoiced is not None:
            f0 = torch.where(unvoiced, torch.ones_like(f0), f0)
        return torch.where(frames, f0, torch.zeros_like(f0))


class PhonemeEncoder(nn.Module):
    """Embeds phonemes and applies the searched layers to them.

    Args:
        vocab_size: Number of different phonemes, including padding (0).
        dim: Number of channels.
        layers: The layers, each called with a sequence and a mask.
        dropout: Dropout probability of the embeddings.

    Shapes:
        forward: tokens (batch, length) int64 and keep (batch, length), False for padding -> (batch, length, dim), which is 0
            for padding.
    """

    def __init__(self, vocab_size: int, dim: int, layers: Iterable[nn.Module], *, dropout: float) -> None:
        super().__init__()
        self.dim = dim
        self.embed_tokens = embedding(vocab_size, dim)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(layers)
        self.layer_norm = layer_norm(dim, eps=1e-12)

    def forward(self, tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        x = math.sqrt(self.dim) * self.embed_tokens(tokens)
        x = self.dropout(x + sinusoids(running_positions(keep), self.dim).to(x.dtype))
        for layer in self.layers:
            x = layer(x, keep)
        return self.layer_norm(x) * keep.unsqueeze(-1).to(x.dtype)


class FrameDecoder(nn.Module):
    """Adds positions to frames and applies the searched layers to them.

    Args:
        dim: Number of channels.
        layers: The layers, each called with a sequence and a mask.
        dropout: Dropout probability of the input.

    Shapes:
        forward: x (batch, frames, dim) and keep (batch, frames), False for padding -> (batch, frames, dim).
    """

    def __init__(self, dim: int, layers: Iterable[nn.Module], *, dropout: float) -> None:
        super().__init__()
        self.positions = ScaledPositions(dim)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(layers)
        self.layer_norm = layer_norm(dim)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.positions(x, keep))
        for layer in self.layers:
            x = layer(x, keep)
        return self.layer_norm(x)


def pitch_bins(f0: torch.Tensor) -> torch.Tensor:
    """Returns the index of the bin of each frequency in Hz: 1 to 255, equally spaced on the mel scale from 50 to 1100 Hz.

    Lower frequencies have 1, and higher ones 255. The result is int64 and has the shape of `f0`.
    """
    low, high = (1127 * math.log1p(hertz / 700) for hertz in (LOWEST_PITCH, HIGHEST_PITCH))
    mel = 1127 * torch.log(1 + f0.clamp(min=0) / 700)
    scaled = (mel - low) * (N_PITCH_BINS - 1) / (high - low) + 1
    return (torch.where(mel > 0, scaled, mel).clamp(1, N_PITCH_BINS) + 0.5).floor().long()


def _unvoiced(predicted: torch.Tensor, pitch: torch.Tensor | None, uv: torch.Tensor | None) -> torch.Tensor | None:
    """Returns which frames have no voice (batch, frames): by `uv`, or else as predicted.

    None means that all frames have voice, which is assumed if `pitch` is given and `uv` is not.
    """
    if uv is not None:
        return uv > 0
    return predicted[..., 1] > 0 if pitch is None else None


def embedding(rows: int, dim: int) -> nn.Embedding:
    """Returns an embedding from a normal distribution with standard deviation dim ** -0.5; row 0, for padding, is 0."""
    made = bare(nn.Embedding, rows, dim, padding_idx=0)
    init_normal(made.weight, std=dim**-0.5)
    with torch.no_grad():
        made.weight[0].zero_()
    return made
