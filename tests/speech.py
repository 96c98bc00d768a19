"""Small spoken data sets, made here without eSpeak NG: harmonics of which each phoneme has its own, and noise."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from hubserve.data.speech.espeak import MISSING, SpokenPhonemes, find_espeak
from hubserve.data.speech.mel import MelSettings, log_mel
from hubserve.data.speech.pitch import fundamental_frequency
from hubserve.data.speech.speech_data import SpeechData, speech_data
from hubserve.data.speech.utterances import Corpus, Utterance, frames_of_phonemes

needs_espeak = pytest.mark.skipif(find_espeak() is None, reason=MISSING)

SYMBOLS = ("a", "o", "s", "_")
RATE = 22050


def sung(names: list[str], rng: Random, *, hertz: float = 110.0) -> SpokenPhonemes:
    """Vowels with two formants each, noise and pauses, of random durations."""
    formants = {"a": (700, 1200), "o": (400, 800)}
    parts, starts, noise = [], [], np.random.default_rng(rng.randrange(2**31))
    for name in names:
        starts.append(sum(map(len, parts)))
        t = np.arange(int(RATE * rng.uniform(0.05, 0.12))) / RATE
        if name in formants:
            overtones = np.arange(1, 40) * hertz
            heights = sum(np.exp(-(((overtones - place) / 150) ** 2)) for place in formants[name]) + 0.01
            parts.append(0.1 * (heights[:, None] * np.sin(2 * np.pi * overtones[:, None] * t)).sum(0))
        else:
            parts.append(noise.normal(size=len(t)) * (0.05 if name == "s" else 1e-5))
    return SpokenPhonemes(np.concatenate(parts).astype(np.float32), tuple(names), np.array(starts, np.int64))


def sung_utterance(rng: Random) -> Utterance:
    names = [rng.choice(SYMBOLS) for _ in range(rng.randrange(3, 9))]
    speech = sung(names, rng)
    mel = log_mel(speech.wave)
    numbers = np.array([SYMBOLS.index(name) + 1 for name in names], np.int64)
    durations = frames_of_phonemes(speech.starts, len(mel), MelSettings().hop)
    return Utterance(" ".join(names), numbers, durations, mel, fundamental_frequency(speech.wave))


def sung_data(train: int = 24, val: int = 4, test: int = 6) -> SpeechData:
    """Loads data as a function of a user's own does, which a job names by `tests.speech:sung_data`."""
    rng = Random(0)
    parts = {
        part: tuple(sung_utterance(rng) for _ in range(count))
        for part, count in (("train", train), ("val", val), ("test", test))
    }
    return speech_data("sung", Corpus("made here", SYMBOLS, MelSettings(), parts))
