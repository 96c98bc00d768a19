"""Texts become token ids, the same ones alone and in a batch, and a tokenizer of others does nothing unexpected."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pytest

from hubserve.data.tokenizer_training import train_tokenizer
from hubserve.errors import MissingExtraError, PackageError, TextError
from hubserve.hub import NASBERT
from hubserve.package.manifest import InputEntry
from hubserve.package.text_tokenizer import LONGEST_TEXT, TOKENIZER, TextTokenizer

TEXTS = ["A good film, isn't it?", "a bad Film!", "the fine movie, good good"] * 3
CONTENT = train_tokenizer(TEXTS, size=60)


def entry(words: int = 60, longest: int = 8) -> InputEntry:
    return NASBERT(vocab_size=words, max_length=longest).inputs[0]


def changed(**parts: object) -> str:
    return json.dumps({**json.loads(CONTENT), **parts})


def test_ids_have_a_start_an_end_and_padding():
    ids = TextTokenizer(CONTENT, entry()).encode(["a good FILM", "never seen words here, not one of them", "!"])
    assert ids.dtype == np.int64
    assert ids.shape == (3, 8)
    assert ids[0, [0, 4, 5, 6, 7]].tolist() == [0, 2, 1, 1, 1]
    assert ids[1].tolist() == [0, 3, 3, 3, 3, *ids[1, 5:6], 3, 2]
    assert ids[2, 3:].tolist() == [1] * 5


def test_a_text_is_the_same_alone_and_in_a_batch():
    tokenizer = TextTokenizer(CONTENT, entry())
    together = tokenizer.encode(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        (alone,) = tokenizer.encode([text])
        assert row[: len(alone)].tolist() == alone.tolist()
        assert set(row[len(alone) :].tolist()) <= {1}


def test_special_tokens_in_a_text_are_text():
    tokenizer = TextTokenizer(CONTENT, entry(longest=20))
    assert tokenizer.tokens("<pad> good </s>") == ["<s>", "<unk>", "<unk>", "<unk>", "good", "<unk>", "<unk>", "<unk>", "</s>"]
    assert 1 not in tokenizer.encode(["<pad><pad>"])


def test_nfkc_and_lower_case():
    tokenizer = TextTokenizer(CONTENT, entry())
    assert tokenizer.tokens("\ufb01ne FILM") == ["<s>", "fine", "film", "</s>"]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "no text is given"),
        (["good", " \n"], "text 1, counted from 0, is empty"),
        (["x\ud800"], "the text is not valid Unicode: surrogates not allowed at character 1"),
        (["a" * (LONGEST_TEXT + 1)], "the text has 20,001 characters, and at most 20,000"),
        (["\ufdfa" * 2000], "the text has 36,000 characters"),
    ],
)
def test_a_text_that_is_not_allowed_is_named(texts, says):
    with pytest.raises(TextError, match=says):
        TextTokenizer(CONTENT, entry()).encode(texts)


def test_the_longest_text_is_cut():
    assert TextTokenizer(CONTENT, entry()).encode(["a " * (LONGEST_TEXT // 2)]).shape == (1, 8)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "holds a list"),
        ("{}", "model is 'NoneType'"),
        (CONTENT[:-40], "is no JSON"),
        (changed(model={"type": "WordLevel"}), "is no tokenizer that this version reads"),
        (changed(model={"type": "WordLevel", "vocab": {}, "unk_token": "<unk>"}, added_tokens=[]), "empty vocabulary"),
        (changed(model={"type": "Unigram"}), "model is 'Unigram'; allowed are WordLevel, BPE"),
        (changed(model={**json.loads(CONTENT)["model"], "dropout": 0.5}), "model.dropout"),
        (changed(normalizer={"type": "Replace", "pattern": {"Regex": "(a+)+b"}, "content": ""}), "normalizer is 'Replace'"),
        (
            changed(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "(a+)+b"}}]}),
            "pre_tokenizer is 'Split'",
        ),
        (changed(normalizer={"type": "Sequence", "normalizers": None}), "normalizer is 'None'"),
        (changed(post_processor=3), "post_processor is 'int'"),
    ],
)
def test_a_file_that_is_corrupt_or_not_allowed_is_refused(content, says):
    with pytest.raises(PackageError, match=says):
        TextTokenizer(content, entry())


def test_the_tokenizer_of_another_model_is_refused():
    with pytest.raises(PackageError, match=r"has ids up to \d+, and the model takes at most 9"):
        TextTokenizer(CONTENT, entry(words=10))
    with pytest.raises(PackageError, match="adds 2 tokens to each text, and the model takes at most 2"):
        TextTokenizer(CONTENT, entry(longest=2))


def test_an_id_that_only_the_template_has_is_refused():
    found = json.loads(CONTENT)
    found["post_processor"]["special_tokens"]["</s>"]["ids"] = [77]
    with pytest.raises(PackageError, match="gives the id 77, and the model takes 0 to 59"):
        TextTokenizer(json.dumps(found), entry()).encode(["good"])


def test_padding_and_truncation_in_the_file_are_ignored():
    found = changed(
        truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 8},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 3,
            "pad_type_id": 0,
            "pad_token": "<unk>",
        },
    )
    assert TextTokenizer(found, entry()).tokens("a good film") == ["<s>", "a", "good", "film", "</s>"]


def test_it_is_read_from_a_folder(tmp_path):
    with pytest.raises(PackageError, match=r"tokenizer\.json cannot be read"):
        TextTokenizer.read(tmp_path, entry())
    (tmp_path / TOKENIZER).write_text(CONTENT, "utf-8")
    assert TextTokenizer.read(tmp_path, entry()).size == len(json.loads(CONTENT)["model"]["vocab"])


def test_an_input_that_is_not_prepared_from_texts_is_refused():
    other = entry().model_copy(update={"prepared_by": "none"})
    with pytest.raises(PackageError, match="'tokens' is not prepared from texts"):
        TextTokenizer(CONTENT, other)


def test_a_missing_library_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'hubserve\[text\]'"):
        TextTokenizer(CONTENT, entry())


@pytest.mark.parametrize("wrong", [{"dtype": "int32"}, {"shape": ("batch", 8)}, {"shape": ("batch",)}, {"padding": None}])
def test_an_input_from_texts_is_a_batch_of_ids(wrong):
    given = {"name": "tokens", "dtype": "int64", "shape": ("batch", "length"), "prepared_by": "text", "padding": 1, **wrong}
    with pytest.raises(ValueError, match=r"is int64 of shape \(batch, length\) and has padding"):
        InputEntry(**given)
