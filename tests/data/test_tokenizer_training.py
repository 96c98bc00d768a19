"""The vocabulary of a text classifier comes from its training texts, and from nothing else."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys

import pytest

from hubserve.data.tokenizer_training import SPECIAL_TOKENS, train_tokenizer
from hubserve.errors import DatasetError, MissingExtraError

TEXTS = ["a good film", "a bad film", "good, Good acting; bad plot", "once"]


def vocabulary(**settings: object) -> dict[str, int]:
    return json.loads(train_tokenizer(TEXTS, **{"size": 100, **settings}))["model"]["vocab"]


def test_words_are_ordered_by_frequency_after_the_special_tokens():
    found = vocabulary()
    assert [found[token] for token in SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert found["good"] == 4
    assert set(found) == {*SPECIAL_TOKENS, "a", "good", "bad", "film"}
    assert len(vocabulary(size=6)) == 6
    assert "once" in vocabulary(least=1)


def test_parts_of_words_leave_no_word_unknown():
    assert {"g", "o", "good"} <= set(vocabulary(kind="bpe", size=60))


def test_the_same_texts_give_the_same_file_in_another_process():
    call = f"print(train_tokenizer({TEXTS * 2!r}, size=30, kind=sys.argv[1]))"
    program = f"from hubserve.data.tokenizer_training import *; {call}"
    for kind in ("words", "bpe"):
        run = [sys.executable, "-c", f"import sys; {program}", kind]
        others = {subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)}
        assert others == {train_tokenizer(TEXTS * 2, size=30, kind=kind)}


def test_a_size_without_words_is_refused():
    with pytest.raises(DatasetError, match="size = 4"):
        train_tokenizer(TEXTS, size=4)


def test_a_missing_library_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'hubserve\[text\]'"):
        train_tokenizer(TEXTS, size=10)
