"""`SpeechData`: spoken texts in three parts as tensors, padded to batches, with their statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from hubserve.data.search_data import SearchData
from hubserve.data.speech.utterances import Corpus, Utterance

USUAL_BATCH = 16
"""Number of utterances in a batch of the loaders that an evaluator takes from a `datamodule`."""


class SpeechTarget(NamedTuple):
    """The targets of a batch of utterances, with which the outputs of a network are compared.

    Attributes:
        mel: Normalised mel spectrogram (batch, frames, bands), 0 for padding.
        durations: Number of frames of each phoneme (batch, length), int64, 0 for padding.
        pitch: Normalised fundamental frequency of each frame (batch, frames), 0 without a voice.
        phonemes: Which phonemes are no padding (batch, length), bool.
        frames: Which frames are no padding (batch, frames), bool.
        voiced: Which frames have a voice (batch, frames), bool.
    """

    mel: Tensor
    durations: Tensor
    pitch: Tensor
    phonemes: Tensor
    frames: Tensor
    voiced: Tensor


@dataclass(frozen=True)
class SpeechStatistics:
    """The means and standard deviations that normalise mel spectrograms and pitches, computed from the training part.

    Attributes:
        mel_mean: Mean of each band, (bands,) float32.
        mel_std: Standard deviation of each band, (bands,) float32.
        f0_mean: Mean fundamental frequency of frames with a voice, in Hz.
        f0_std: Standard deviation of the fundamental frequency of frames with a voice, in Hz.
    """

    mel_mean: NDArray[np.float32]
    mel_std: NDArray[np.float32]
    f0_mean: float
    f0_std: float

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> SpeechStatistics:
        """Returns the statistics of utterances, of which there is at least one; standard deviations are at least 0.001.

        Without a frame that has a voice, `f0_mean` is 1.
        """
        mel = np.concatenate([utterance.mel for utterance in utterances])
        f0 = np.concatenate([utterance.f0 for utterance in utterances])
        voiced = f0[f0 > 0] if (f0 > 0).any() else np.ones(1, np.float32)
        std = np.maximum(mel.std(0), 1e-3)
        return cls(mel.mean(0), std, float(voiced.mean()), max(float(voiced.std()), 1e-3))


class SpokenTexts(Dataset[Utterance]):
    """A part of a corpus. Its items are the utterances as they are given; the batches of `loader` are normalised and padded.

    Args:
        utterances: The utterances.
        statistics: Statistics that normalise them.
    """

    def __init__(self, utterances: Sequence[Utterance], statistics: SpeechStatistics) -> None:
        self.utterances = tuple(utterances)
        self.statistics = statistics

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Utterance:
        return self.utterances[index]

    def loader(self, batch_size: int, *, given_pitch: bool, shuffle: bool = False, workers: int = 0) -> DataLoader[Any]:
        """Returns a loader of padded batches, pairs (inputs, `SpeechTarget`); see `padded`.

        Args:
            batch_size: Number of utterances in a batch.
            given_pitch: Whether the inputs have the pitch.
            shuffle: Whether the order is random, drawn with torch's global generator.
            workers: Number of processes that make batches; 0 makes them in this process.
        """
        collate = partial(padded, statistics=self.statistics, given_pitch=given_pitch)
        return DataLoader(self, batch_size, shuffle=shuffle, num_workers=workers, collate_fn=collate)


@dataclass(frozen=True)
class SpeechData(SearchData):
    """Spoken texts in three parts; an evaluator accepts it as `datamodule`.

    Attributes, besides those of `SearchData`:
        corpus: The spoken texts, with the names of the phonemes.
        statistics: Statistics that normalise mel spectrograms and pitches.
    """

    train: SpokenTexts
    val: SpokenTexts
    test: SpokenTexts
    corpus: Corpus
    statistics: SpeechStatistics

    def train_dataloader(self) -> DataLoader[Any]:  # type: ignore[override] # Evaluators take both.
        """Returns batches of the training part, in which the pitch is given."""
        return self.train.loader(USUAL_BATCH, given_pitch=True, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:  # type: ignore[override]
        """Returns batches of the validation part, for which the network predicts the pitch."""
        return self.val.loader(USUAL_BATCH, given_pitch=False)

    @property
    def seconds_per_frame(self) -> float:
        """Seconds from a frame of the mel spectrogram to the next one."""
        return self.corpus.mel.hop / self.corpus.mel.sampling_rate

    @property
    def seconds(self) -> float:
        """Duration of all utterances of all parts, in seconds."""
        return sum(len(each.mel) for part in self.corpus.parts.values() for each in part) * self.seconds_per_frame


def speech_data(name: str, corpus: Corpus) -> SpeechData:
    """Returns the data of a corpus that has the parts "train", "val" and "test"."""
    statistics = SpeechStatistics.of(corpus.parts["train"])
    train, val, test = (SpokenTexts(corpus.parts[part], statistics) for part in ("train", "val", "test"))
    return SpeechData(name, train, val, test, corpus, statistics)


def padded(
    utterances: Sequence[Utterance], *, statistics: SpeechStatistics, given_pitch: bool
) -> tuple[tuple[Tensor, ...], SpeechTarget]:
    """Returns utterances as one batch (inputs, targets), the shorter ones padded at their end.

    Args:
        utterances: At least one utterance.
        statistics: Statistics that normalise them.
        given_pitch: Whether the inputs have the pitch.

    Returns:
        The inputs are the indices of the phonemes (batch, length) int64; the position in the utterance, counted from 1, of the
        phoneme to which each frame belongs (batch, frames) int64; and with `given_pitch` the normalised pitch (batch, frames),
        and 1 for frames without a voice (batch, frames). Padding is 0.
    """
    phonemes = _joined([each.phonemes for each in utterances])
    durations = _joined([each.durations for each in utterances])
    steps = _joined([np.repeat(np.arange(1, len(each.phonemes) + 1), each.durations) for each in utterances])
    mel = _joined([(each.mel - statistics.mel_mean) / statistics.mel_std for each in utterances])
    f0 = _joined([each.f0 for each in utterances])
    frames, voiced = steps > 0, f0 > 0
    pitch = torch.where(voiced, (f0 - statistics.f0_mean) / statistics.f0_std, torch.zeros_like(f0))
    target = SpeechTarget(mel, durations, pitch, phonemes > 0, frames, voiced)
    more = (pitch, (frames & ~voiced).float()) if given_pitch else ()
    return (phonemes, steps, *more), target


def _joined(arrays: Sequence[NDArray[Any]]) -> Tensor:
    return pad_sequence([torch.from_numpy(array) for array in arrays], batch_first=True)
