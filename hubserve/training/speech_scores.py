"""`speech_scores`: computes the errors of a speech network on the test part of a data set, and those of mean values alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hubserve.data.speech.speech_data import SpeechData, SpokenTexts
from hubserve.data.speech.utterances import Utterance
from hubserve.training.speech_synthesis import duration_error, mel_error

TESTED_BATCH = 20
"""Number of utterances in a batch of the test."""


@torch.no_grad()
def speech_scores(model: nn.Module, data: SpeechData) -> dict[str, float]:
    """Returns the errors of a network on the test part, and those of the means of the training part, by name.

    Errors of mel spectrograms are mean absolute ones of normalised bands, with the durations of the data; each utterance counts
    the same. Errors of durations are mean squared ones of log(1 + frames), where a network gives whole numbers of frames; each
    phoneme counts the same.

    Args:
        model: Network in eval mode, on the CPU.
        data: The data; neither the training nor the test part may be empty.

    Returns:
        "mel_l1" with the pitch that the network predicts, "mel_l1_given_pitch" with that of the data, "log_duration_mse", and
        "length_error", the mean of |frames - true frames| / true frames of an utterance. "mel_l1" and "log_duration_mse" of the
        mean of each phoneme end in "_of_phoneme_means" (a phoneme that is not in the training part has the mean of all), and
        those of the mean of all in "_of_one_mean".
    """
    return _errors(model, data.test) | {
        f"{name}_of_{kind}": value for kind in ("phoneme_means", "one_mean") for name, value in _of_means(data, kind).items()
    }


def _errors(model: nn.Module, part: SpokenTexts) -> dict[str, float]:
    found: dict[str, list[float]] = {"mel_l1": [], "mel_l1_given_pitch": [], "length_error": []}
    squares = phonemes = 0.0
    for inputs, target in part.loader(TESTED_BATCH, given_pitch=True):
        found["mel_l1_given_pitch"] += mel_error(model(inputs)[0], target).tolist()
        mel, durations = model(inputs[:2])
        found["mel_l1"] += mel_error(mel, target).tolist()
        whole, true = durations.sum(1).float(), target.durations.sum(1)
        found["length_error"] += ((whole - true).abs() / true).tolist()
        count = int(target.phonemes.sum())
        squares += float(duration_error(torch.log1p(durations.float()), target)) * count
        phonemes += count
    return {name: float(np.mean(values)) for name, values in found.items()} | {"log_duration_mse": squares / phonemes}


def _of_means(data: SpeechData, kind: str) -> dict[str, float]:
    """Returns "mel_l1" and "log_duration_mse" of the training part's mean spectrum and mean log duration on the test part.

    Args:
        data: The data.
        kind: "phoneme_means" for a mean of each phoneme, "one_mean" for one mean of all of them.
    """
    train, test = data.train.utterances, data.test.utterances
    same = kind == "one_mean"
    mels, durations = _means(_frames(train, same), _mels(data, train)), _means(_phonemes(train, same), _logs(train))
    frame_errors = np.abs(_looked_up(mels, _frames(test, same)) - _mels(data, test)).mean(1)
    ends = np.cumsum([len(each.mel) for each in test])[:-1]
    log_errors = _looked_up(durations, _phonemes(test, same)) - _logs(test)
    return {
        "mel_l1": float(np.mean([part.mean() for part in np.split(frame_errors, ends)])),
        "log_duration_mse": float((log_errors**2).mean()),
    }


def _phonemes(utterances: Sequence[Utterance], same: bool) -> NDArray[np.int64]:
    """Returns the index of each phoneme, (phonemes,), of all utterances one after the other; zeros with `same`."""
    return np.concatenate([each.phonemes * (not same) for each in utterances])


def _frames(utterances: Sequence[Utterance], same: bool) -> NDArray[np.int64]:
    """Returns the index of the phoneme of each frame, (frames,), of all utterances one after the other; zeros with `same`."""
    return np.concatenate([np.repeat(each.phonemes * (not same), each.durations) for each in utterances])


def _logs(utterances: Sequence[Utterance]) -> NDArray[np.float64]:
    return np.log1p(np.concatenate([each.durations for each in utterances]))


def _mels(data: SpeechData, utterances: Sequence[Utterance]) -> NDArray[np.float32]:
    found = data.statistics
    mels: NDArray[np.float32] = (np.concatenate([each.mel for each in utterances]) - found.mel_mean) / found.mel_std
    return mels


def _means(numbers: NDArray[np.int64], values: NDArray[Any]) -> dict[int, Any]:
    """Returns the mean of the values of each phoneme by its index, and that of all values under the key -1.

    Args:
        numbers: Index of the phoneme of each value, (n,).
        values: The values, (n, ...).
    """
    return {-1: values.mean(0)} | {int(number): values[numbers == number].mean(0) for number in np.unique(numbers)}


def _looked_up(means: dict[int, Any], numbers: NDArray[np.int64]) -> NDArray[Any]:
    return np.stack([means.get(int(number), means[-1]) for number in numbers])
