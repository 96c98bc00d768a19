"""The fundamental frequency of tones, and none in noise and silence."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.data.speech.pitch import fundamental_frequency


def overtones(hertz: float) -> np.ndarray:
    t = np.arange(11025) / 22050
    return 0.2 * sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 8))


@pytest.mark.parametrize("hertz", [70.0, 95.0, 110.0, 180.0, 240.0, 350.0])
def test_voices(hertz):
    found = fundamental_frequency(overtones(hertz))
    assert found[3:-3] == pytest.approx(np.full(len(found) - 6, hertz), rel=0.005)


def test_a_voice_above_the_highest_is_none():
    assert not fundamental_frequency(overtones(350.0), highest=250.0)[3:-3].any()


def test_a_missing_fundamental_is_heard():
    t = np.arange(11025) / 22050
    wave = 0.2 * sum(np.sin(2 * np.pi * 120 * k * t) for k in (2, 3, 4, 5))
    assert fundamental_frequency(wave)[10] == pytest.approx(120, rel=0.005)


@pytest.mark.parametrize("loudness", [0.0, 1e-4, 0.1])
def test_noise_and_silence_have_no_voice(loudness):
    wave = loudness * np.random.default_rng(0).normal(size=22050)
    assert (fundamental_frequency(wave) > 0).mean() < 0.02
