"""Mel spectrograms: of known sounds, beside scipy's, and sounds made of them again."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from scipy.signal import stft

from hubserve.data.speech.mel import FLOOR, LIGHTSPEECH, frames_of, griffin_lim, hertz_to_mel, log_mel, mel_to_hertz
from tests.speech import sung


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(22050 * seconds)) / 22050)


def test_the_mel_scale_is_slaneys_and_is_inverted():
    # http://www.ee.columbia.edu/~dpwe: 1000 Hz are 15 mel, 6400 Hz are 42.
    assert hertz_to_mel(np.array([0.0, 200.0, 1000.0, 6400.0])).tolist() == pytest.approx([0, 3, 15, 42])
    hertz = np.linspace(1, 8000, 200)
    assert mel_to_hertz(hertz_to_mel(hertz)) == pytest.approx(hertz)


def test_bands_are_triangles_of_the_same_area():
    weights = LIGHTSPEECH.weights
    assert weights.shape == (80, 513)
    areas = weights[20:].sum(1) * 22050 / 1024  # Low bands are narrower than a frequency of the transform.
    assert areas == pytest.approx(np.ones(60), abs=0.15)
    frequencies = np.linspace(0, 11025, 513)
    assert not weights[:, (frequencies < 80) | (frequencies > 7600)].any()


def test_the_spectrum_is_that_of_scipy():
    wave = np.random.default_rng(0).normal(size=5000)
    _, _, found = stft(
        wave, window="hann", nperseg=1024, noverlap=768, boundary="zeros", padded=False, scaling="spectrum", detrend=False
    )
    expected = np.abs(found.T) * 512  # `scaling` divides by the sum of the window.
    mel = np.log10(np.maximum(expected @ LIGHTSPEECH.weights.T, FLOOR))
    ours = log_mel(wave)
    assert ours.shape == (1 + 5000 // 256, 80)
    assert ours[: len(mel)] == pytest.approx(mel, abs=1e-5)


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 4000.0])
def test_a_tone_is_in_its_band(hertz):
    middle = log_mel(tone(hertz))[20]
    edges = mel_to_hertz(np.linspace(*hertz_to_mel(np.array([80.0, 7600.0])), 82))
    band = int(middle.argmax())
    assert edges[band] - 30 <= hertz <= edges[band + 2] + 30


def test_silence_is_the_floor():
    assert log_mel(np.zeros(1000)).tolist() == np.full((4, 80), np.log10(FLOOR), np.float32).tolist()


def test_frames_have_their_sample_in_the_centre():
    wave = np.arange(1.0, 1001.0)
    assert frames_of(wave)[:, 512].tolist() == [1, 257, 513, 769]


def test_a_sound_made_of_a_spectrogram_has_that_spectrogram():
    wave = sung(["a", "o", "_", "a"], Random(1)).wave
    mel = log_mel(wave)
    heard = griffin_lim(mel, steps=30)
    assert len(heard) == (len(mel) - 1) * 256
    assert np.abs(heard).max() <= 1
    loud = mel > -2.5
    error = np.abs(log_mel(heard)[loud] - mel[loud]).mean()
    assert error < 0.15
    assert error < np.abs(log_mel(griffin_lim(mel, steps=1))[loud] - mel[loud]).mean()


def test_the_phases_are_drawn_by_the_seed():
    mel = log_mel(tone(500, 0.1))
    first, same, other = (griffin_lim(mel, steps=2, seed=seed) for seed in (0, 0, 1))
    assert (first == same).all()
    assert (first != other).any()
