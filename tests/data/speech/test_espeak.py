"""eSpeak NG's speech and phonemes; skipped where it is not installed, except for the errors."""

from __future__ import annotations

import builtins
import ctypes.util
from types import SimpleNamespace

import numpy as np
import pytest

from hubserve.data.speech import espeak
from hubserve.data.speech.espeak import open_voice
from hubserve.errors import DatasetError, MissingExtraError
from tests.speech import needs_espeak


@pytest.fixture
def no_espeak(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "espeakng_loader":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)


def test_without_the_library_it_says_how_to_install_it(no_espeak):
    with pytest.raises(MissingExtraError, match=r"pip install 'hubserve\[speech\]', or install .* espeak-ng"), open_voice():
        pass


def test_a_library_that_cannot_be_loaded(monkeypatch, tmp_path):
    (tmp_path / "libespeak-ng.so").write_bytes(b"no library")
    monkeypatch.setattr(espeak, "find_espeak", lambda: (str(tmp_path / "libespeak-ng.so"), None))
    with pytest.raises(DatasetError, match="cannot be loaded"), open_voice():
        pass


@needs_espeak
class TestVoice:
    def test_phonemes_begin_where_they_are_heard(self):
        with open_voice() as voice:
            said = voice.say("six")
            assert voice.sampling_rate == 22050
        assert said.phonemes[:4] == ("s", "'I", "k", "s")
        assert (np.diff(said.starts) >= 0).all()
        assert said.starts[-1] <= len(said.wave)
        assert 0.05 < np.abs(said.wave).max() <= 1
        vowel = said.wave[said.starts[1] : said.starts[2]]
        hiss = said.wave[: said.starts[1]]
        crossings = [np.mean(np.diff(np.sign(part)) != 0) for part in (vowel, hiss)]
        assert crossings[0] < 0.5 * crossings[1]  # A hiss changes its sign far more often than a vowel.

    def test_the_same_text_has_the_same_phonemes(self):
        with open_voice() as voice:
            first = voice.say("four hundred and two")
            voice.say("nine")
            second = voice.say("four hundred and two")
        assert first.phonemes == second.phonemes
        assert np.abs(first.starts - second.starts).max() < 100  # Samples; see make_corpus.

    def test_no_sound_is_refused(self, monkeypatch):
        with open_voice() as voice:
            monkeypatch.setattr(voice, "_library", SimpleNamespace(espeak_Synth=lambda *given: 0))
            with pytest.raises(DatasetError, match=r"libespeak-ng 1\..* makes no speech of 'one'"):
                voice.say("one")

    def test_an_unknown_voice_is_refused_and_the_next_one_works(self):
        with pytest.raises(DatasetError, match="no voice 'xx-nobody'"), open_voice("xx-nobody"):
            pass
        with open_voice("en-us") as voice:
            assert voice.say("one").phonemes[0] == "w"
