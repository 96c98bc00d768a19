"""Spoken numbers: made once, divided without overlap, with clear errors."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.data.named_datasets import load_dataset, load_search_data
from hubserve.data.speech import spoken_numbers as module
from hubserve.data.speech.spoken_numbers import spoken_numbers
from hubserve.errors import DatasetError, MissingExtraError
from tests.speech import needs_espeak


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))


def refuse(*_):
    raise MissingExtraError("not installed")


@needs_espeak
def test_they_are_made_once(monkeypatch, tmp_path):
    first = spoken_numbers(train=6, val=2, test=2)
    (folder,) = (tmp_path / "home" / "datasets").iterdir()
    monkeypatch.setattr(module, "make_corpus", refuse)
    again = spoken_numbers(train=6, val=2, test=2)
    assert all(np.array_equal(a.mel, b.mel) for a, b in zip(first.train.utterances, again.train.utterances, strict=True))
    with pytest.raises(MissingExtraError):
        spoken_numbers(train=6, val=2, test=3)
    assert list((tmp_path / "home" / "datasets").iterdir()) == [folder]


@needs_espeak
def test_they_sound_the_same_when_they_are_made_again(monkeypatch, tmp_path):
    first = spoken_numbers(train=3, val=1, test=1)
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "other"))
    again = spoken_numbers(train=3, val=1, test=1)
    for a, b in zip(first.train.utterances, again.train.utterances, strict=True):
        assert a.text == b.text
        assert np.array_equal(a.mel, b.mel)
        assert np.array_equal(a.durations, b.durations)


@needs_espeak
def test_an_unknown_voice_leaves_nothing(tmp_path):
    with pytest.raises(DatasetError, match="has no voice 'xx-nobody'"):
        spoken_numbers(voice="xx-nobody", train=1, val=1, test=1)
    assert list((tmp_path / "home" / "datasets").iterdir()) == []


@needs_espeak
def test_parts_have_other_numbers_and_exact_durations():
    data = spoken_numbers(train=8, val=3, test=3, seed=4)
    texts = [each.text for part in (data.train, data.val, data.test) for each in part.utterances]
    assert len(set(texts)) == 14
    assert all(0 <= int(text) < 1000 for text in texts)
    for each in data.train.utterances:
        assert each.durations.sum() == len(each.mel) == len(each.f0)
        assert each.phonemes.min() >= 1
        assert each.phonemes.max() <= len(data.corpus.symbols)
        voiced = each.f0[each.f0 > 0]
        assert 0.3 < len(voiced) / len(each.f0) < 1
        assert 60 < np.median(voiced) < 200  # A man's voice.


def test_without_espeak_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "make_corpus", refuse)
    with pytest.raises(MissingExtraError):
        load_search_data("spoken-numbers")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"train": 800, "val": 200}, r"train \+ val \+ test = 1060, and there are 1,000 numbers"),
        ({"train": 0}, "train"),
        ({"voice": "en;rm"}, "voice"),
        ({"trian": 5}, "no setting 'trian'. Did you mean train"),
    ],
)
def test_wrong_settings(settings, sentence):
    with pytest.raises((DatasetError, ValueError), match=sentence):
        load_search_data("spoken-numbers", **settings)


def test_it_needs_no_folder(tmp_path):
    with pytest.raises(DatasetError, match=r"are made by eSpeak NG, and folder = .* leave it out"):
        load_search_data("spoken-numbers", tmp_path)


def test_speech_is_no_image():
    with pytest.raises(DatasetError, match=r"'tests\.speech:sung_data' has no images with labels"):
        load_dataset("tests.speech:sung_data")
    assert load_search_data("tests.speech:sung_data", train=2, val=1, test=1).name == "sung"
