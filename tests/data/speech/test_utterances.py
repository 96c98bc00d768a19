"""The frames of each phoneme, and a corpus that is written and read again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hubserve.data.speech.utterances import ARRAYS, FACTS, frames_of_phonemes, read_corpus, write_corpus
from hubserve.errors import DatasetError
from tests.speech import sung_data


def test_a_frame_belongs_to_the_phoneme_of_its_centre():
    # Frames are at the samples 0, 256, 512, 768, 1024.
    found = frames_of_phonemes(np.array([100, 256, 257, 600, 1024]), 5, 256)
    assert found.tolist() == [1, 1, 1, 1, 1]
    assert frames_of_phonemes(np.array([0, 10, 1020, 5000]), 5, 256).tolist() == [1, 3, 1, 0]


def test_frames_of_random_phonemes_by_counting():
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = np.sort(rng.integers(0, 20_000, 12))
        frames = 1 + (int(starts[-1]) + int(rng.integers(1, 3000))) // 256
        owner = [max((i for i in range(12) if starts[i] <= frame * 256), default=0) for frame in range(frames)]
        assert frames_of_phonemes(starts, frames, 256).tolist() == [owner.count(i) for i in range(12)]


def test_a_corpus_is_read_as_it_was_written(tmp_path):
    corpus = sung_data(3, 2, 1).corpus
    write_corpus(corpus, tmp_path)
    again = read_corpus(tmp_path)
    assert (again.made_by, again.symbols, again.mel) == (corpus.made_by, corpus.symbols, corpus.mel)
    assert {part: len(each) for part, each in again.parts.items()} == {"train": 3, "val": 2, "test": 1}
    for part, utterances in corpus.parts.items():
        for before, after in zip(utterances, again.parts[part], strict=True):
            assert before.text == after.text
            for name in ("phonemes", "durations", "mel", "f0"):
                assert np.array_equal(getattr(before, name), getattr(after, name))
                assert getattr(before, name).dtype == getattr(after, name).dtype


@pytest.mark.parametrize("name", [FACTS, ARRAYS])
def test_corrupt_files_say_what_to_do(name, tmp_path):
    write_corpus(sung_data(1, 1, 1).corpus, tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"is corrupt .* delete it, and the speech is made again"):
        read_corpus(tmp_path)


def test_a_missing_key_is_corrupt_too(tmp_path):
    write_corpus(sung_data(1, 1, 1).corpus, tmp_path)
    facts = json.loads((tmp_path / FACTS).read_text())
    del facts["symbols"]
    (tmp_path / FACTS).write_text(json.dumps(facts))
    with pytest.raises(DatasetError, match="'symbols'"):
        read_corpus(tmp_path)
