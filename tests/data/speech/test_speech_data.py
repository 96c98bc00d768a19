"""Utterances as padded batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hubserve.data.speech.speech_data import padded
from tests.speech import sung_data


@pytest.fixture(scope="module")
def data():
    return sung_data()


def test_a_batch_has_each_utterance_and_padding_after_it(data):
    utterances = data.train.utterances[:5]
    (phonemes, steps, pitch, unvoiced), target = padded(utterances, statistics=data.statistics, given_pitch=True)
    for row, each in enumerate(utterances):
        length, frames = len(each.phonemes), len(each.mel)
        assert phonemes[row, :length].tolist() == each.phonemes.tolist()
        assert phonemes[row, length:].eq(0).all()
        counts = torch.bincount(steps[row], minlength=phonemes.shape[1] + 1)
        assert counts[1 : length + 1].tolist() == each.durations.tolist()
        assert counts[0] == steps.shape[1] - frames
        assert target.frames[row].tolist() == [i < frames for i in range(steps.shape[1])]
        assert target.phonemes[row].tolist() == [i < length for i in range(phonemes.shape[1])]
        mel = target.mel[row, :frames].numpy() * data.statistics.mel_std + data.statistics.mel_mean
        assert mel == pytest.approx(each.mel, abs=1e-4)
        hertz = pitch[row, :frames] * data.statistics.f0_std + data.statistics.f0_mean
        voiced = torch.from_numpy(each.f0 > 0)
        assert hertz[voiced].tolist() == pytest.approx(each.f0[each.f0 > 0].tolist(), rel=1e-4)
        assert unvoiced[row, :frames].tolist() == (~voiced).float().tolist()
    for tensor in (target.mel, target.pitch, target.durations, pitch, unvoiced):
        mask = target.phonemes if tensor.shape[1] == phonemes.shape[1] else target.frames
        assert not tensor[~mask].any()


def test_training_data_are_normalised(data):
    mel = np.concatenate([each.mel for each in data.train.utterances])
    z = (mel - data.statistics.mel_mean) / data.statistics.mel_std
    assert z.mean(0) == pytest.approx(np.zeros(80), abs=1e-3)
    assert z.std(0) == pytest.approx(np.ones(80), abs=1e-3)


def test_loaders_of_training_shuffle_and_those_of_validation_predict_the_pitch(data):
    assert [len(inputs) for inputs, _ in data.val_dataloader()] == [2]
    assert {len(inputs) for inputs, _ in data.train_dataloader()} == {4}
    assert data.seconds == pytest.approx(sum(len(each.mel) for p in data.corpus.parts.values() for each in p) * 256 / 22050)
