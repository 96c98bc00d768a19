"""The model space LightSpeech: text to mel spectrogram, with a searched operation of each encoder and decoder layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import nn

from hubserve.blocks.lightspeech import (
    PreNormAttention,
    PreNormConvolutions,
    PreNormFeedForward,
    SequencePredictor,
    SkippedLayer,
)
from hubserve.errors import SpaceError
from hubserve.hub.hub_space import HubSpace, token_input
from hubserve.hub.lightspeech_network import USUAL_PITCH, FrameDecoder, LightSpeechNet, PhonemeEncoder
from hubserve.hub.network_outline import CellOutline, chain_outline
from hubserve.package.manifest import InputEntry, OutputEntry
from hubserve.similar_names import suggest
from hubserve.space import Picker

KERNELS = {f"sep_conv_{kernel}": kernel for kernel in (1, 5, 9, 13, 17, 21, 25)}
"""Name of each operation that is a separable convolution -> number of steps that it sees."""

HEADS = {f"mhsa_{heads}": heads for heads in (2, 4, 8)}
"""Name of each operation that is a self-attention -> number of its heads."""

OPERATIONS = (*KERNELS, *HEADS, "ffn")
"""The 11 operations of the paper, in the order of the numbers 1 to 11 by which the original code names them."""

IDENTITY = "identity"
"""An operation without a layer, number 12 of the original code. The paper's space does not have it."""


@dataclass(frozen=True)
class LightSpeech(HubSpace):
    """The model space of "LightSpeech: Lightweight and Fast Text to Speech" (Luo et al. 2021, section 2.3).

    The labels of its choices are `encoder_{i}` and `decoder_{i}`, the operations of the layers of encoder and decoder, counted
    from 0. A layer has one of 11 operations, so that there are 11 ** 8 archs with the defaults.

    A network turns the ids of phonemes into the mel spectrogram of speech; a vocoder, which is not part of it, makes sound of
    that. The statistics of the pitch are settings, since the original weights do not contain them.

    Args:
        vocab_size: Number of different phonemes, including padding (0), at least 2; 78 in the original.
        hidden_size: Number of channels, a multiple of 8 and at least 8; the number of heads of each operation must divide it.
        filter_size: Number of hidden channels of a feed-forward operation.
        ffn_kernel_size: Number of steps that the convolution of a feed-forward operation sees, odd.
        enc_layers: Number of encoder layers.
        dec_layers: Number of decoder layers.
        mel_bins: Number of frequency bands of the spectrogram.
        dropout: Dropout probability of embeddings and operations, in [0, 1).
        predictor_dropout: Dropout probability in the predictors of durations and pitch, in [0, 1).
        dur_predictor_layers: Number of convolutions that predict durations.
        dur_predictor_kernel: Number of phonemes that each of them sees, odd.
        pitch_predictor_layers: Number of convolutions that predict the pitch.
        pitch_predictor_kernel: Number of frames that each of them sees, odd.
        pitch_bins: Number of embeddings of pitches, at least 256.
        f0_mean: Mean fundamental frequency of the training data in Hz.
        f0_std: Standard deviation of the fundamental frequency of the training data in Hz, above 0.
        operations: Candidates for a layer: names in `OPERATIONS`, or "identity".
        mask_padding: Whether the output for a sequence is the same alone and in a padded batch. If not, as in the original
            code, the last frames change where padding follows; without padding there is no difference.
        seconds_per_frame: Seconds from a frame of the spectrogram to the next one, above 0; by default 256 / 22,050.
        spk_embed_proj: Whether a network has the linear layer for speakers of the original code, which is unused there; its
            65,792 parameters are part of the published count.

    Shapes of the network:
        forward: tokens (batch, length) int64 -> mel (batch, frames, mel_bins) and durations (batch, length) int64, in frames.
            See `LightSpeechNet`, also for the further arguments of training.

    Raises:
        SpaceError: A number is below 1 or out of its range, a kernel is even, or an operation is unknown, or there is none.
    """

    vocab_size: int = 78
    hidden_size: int = 256
    filter_size: int = 1024
    ffn_kernel_size: int = 9
    enc_layers: int = 4
    dec_layers: int = 4
    mel_bins: int = 80
    dropout: float = 0.2
    predictor_dropout: float = 0.5
    dur_predictor_layers: int = 2
    dur_predictor_kernel: int = 3
    pitch_predictor_layers: int = 5
    pitch_predictor_kernel: int = 5
    pitch_bins: int = 300
    f0_mean: float = USUAL_PITCH[0]
    f0_std: float = USUAL_PITCH[1]
    operations: tuple[str, ...] = OPERATIONS
    mask_padding: bool = True
    seconds_per_frame: float = 256 / 22050
    spk_embed_proj: bool = True

    paper: ClassVar[str] = "https://arxiv.org/abs/2102.04040"
    usual_lengths: ClassVar[Mapping[str, int]] = {"length": 100, "frames": 600}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(1, "filter_size", "enc_layers", "dec_layers", "mel_bins")
        self._check_at_least(1, "dur_predictor_layers", "pitch_predictor_layers")
        self._check_at_least(2, "vocab_size")
        self._check_at_least(256, "pitch_bins")
        if self.hidden_size < 8 or self.hidden_size % 8:
            raise SpaceError(f"LightSpeech: hidden_size = {self.hidden_size} is not a multiple of 8 above 0")
        for setting in ("ffn_kernel_size", "dur_predictor_kernel", "pitch_predictor_kernel"):
            if getattr(self, setting) < 1 or getattr(self, setting) % 2 == 0:
                raise SpaceError(f"LightSpeech: {setting} = {getattr(self, setting)} is not an odd number above 0")
        for setting in ("dropout", "predictor_dropout"):
            if not 0.0 <= getattr(self, setting) < 1.0:
                raise SpaceError(f"LightSpeech: {setting} = {getattr(self, setting)} is not in [0, 1)")
        for setting in ("f0_std", "seconds_per_frame"):
            if getattr(self, setting) <= 0:
                raise SpaceError(f"LightSpeech: {setting} = {getattr(self, setting)} must be above 0")
        unknown = [name for name in self.operations if name not in (*OPERATIONS, IDENTITY)]
        if unknown:
            raise SpaceError(f"LightSpeech has no operation {unknown[0]!r}. {suggest(unknown[0], (*OPERATIONS, IDENTITY))}")
        if not self.operations:
            raise SpaceError("LightSpeech: operations is empty; give one at least")

    @property
    def inputs(self) -> tuple[InputEntry, ...]:
        """The only input: the ids of phonemes, padded at the end with 0; without padding if `mask_padding` is False."""
        padding = 0 if self.mask_padding else None
        return (token_input(self.vocab_size, padding=padding, longest=None, prepared_by="none"),)

    @property
    def outputs(self) -> tuple[OutputEntry, ...]:
        """The mel spectrogram, 0 behind the last frame of each sequence, and the number of frames of each phoneme."""
        shape, time = ("batch", "frames", self.mel_bins), {"frames": self.seconds_per_frame}
        mel = OutputEntry(name="mel", dtype="float32", shape=shape, meaning="other", seconds_per_step=time)
        return mel, OutputEntry(name="durations", dtype="int64", shape=("batch", "length"), meaning="other")

    @property
    def cost_entries(self) -> tuple[InputEntry, ...]:
        """The phonemes, and the phoneme of each frame, always the first one: it fixes the number of frames."""
        mel2ph = InputEntry(
            name="mel2ph",
            dtype="int64",
            shape=("batch", "frames"),
            prepared_by="none",
            lowest=1,
            highest=1,
            axes={"frames": (1, None)},
        )
        return (*self.inputs, mel2ph)

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """Returns encoder and decoder as chains of their operations, from which a drawing is made.

        Raises:
            ArchError: `arch` is not in the space.
        """
        picked = self.canonical(arch)
        parts = {"encoder": self.enc_layers, "decoder": self.dec_layers}
        return {part: chain_outline([picked[f"{part}_{i}"] for i in range(n)]) for part, n in parts.items()}

    def build(self, pick: Picker) -> nn.Module:
        """Returns the initialised network with the values that `pick` chooses for the labels."""
        candidates = {name: self._operation(name) for name in self.operations}
        encoder = [pick.layer(f"encoder_{i}", candidates) for i in range(self.enc_layers)]
        decoder = [pick.layer(f"decoder_{i}", candidates) for i in range(self.dec_layers)]
        dim, dropout = self.hidden_size, self.predictor_dropout
        layers, kernel = self.dur_predictor_layers, self.dur_predictor_kernel
        of_durations = SequencePredictor(dim, 1, layers=layers, kernel=kernel, dropout=dropout)
        return LightSpeechNet(
            PhonemeEncoder(self.vocab_size, dim, encoder, dropout=self.dropout),
            FrameDecoder(dim, decoder, dropout=self.dropout),
            of_durations,
            self._pitch_predictor(),
            mel_bins=self.mel_bins,
            pitch_bins=self.pitch_bins,
            pitch_dropout=dropout,
            f0_mean=self.f0_mean,
            f0_std=self.f0_std,
            spk_embed_proj=self.spk_embed_proj,
        )

    def _pitch_predictor(self) -> SequencePredictor:
        return SequencePredictor(
            self.hidden_size,
            2,
            layers=self.pitch_predictor_layers,
            kernel=self.pitch_predictor_kernel,
            dropout=self.predictor_dropout,
            mask_padding=self.mask_padding,
            positions=True,
        )

    def _operation(self, name: str) -> Callable[[], nn.Module]:
        """Returns a function that makes a layer with the operation `name`."""
        dim, dropout = self.hidden_size, self.dropout
        if name in KERNELS:
            convolutions = partial(PreNormConvolutions, dim, kernel=KERNELS[name], dropout=dropout)
            return partial(convolutions, mask_padding=self.mask_padding)
        if name in HEADS:
            return partial(PreNormAttention, dim, n_heads=HEADS[name], dropout=dropout)
        if name == "ffn":
            return partial(PreNormFeedForward, dim, hidden=self.filter_size, kernel=self.ffn_kernel_size, dropout=dropout)
        return SkippedLayer
