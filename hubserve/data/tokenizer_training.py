"""`train_tokenizer`: learns the vocabulary of a text classifier from its training texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from hubserve.errors import DatasetError, MissingExtraError

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
"""The tokens that are no words, in the order of their ids from 0: start, padding, end, and any unknown word."""

Kind = Literal["words", "bpe"]
"""Kind of a vocabulary: whole words, or parts of words by byte pair encoding."""


def train_tokenizer(texts: Iterable[str], *, size: int, kind: Kind = "words", least: int = 2) -> str:
    """Trains a tokenizer and returns it as the content of a tokenizer.json.

    Texts are normalised by Unicode's NFKC and written in lower case; then words and punctuation marks are divided. The
    vocabulary has the most frequent words, or parts of words, of the texts.

    Args:
        texts: The training texts.
        size: Largest number of tokens in the vocabulary, `SPECIAL_TOKENS` included.
        kind: "words", or "bpe" for parts of words (byte pair encoding, Sennrich et al. 2016).
        least: Smallest number of occurrences of a word, or of a pair of parts, that enters the vocabulary.

    Raises:
        DatasetError: `size` is too small for any word.
        MissingExtraError: The library `tokenizers` is not installed.
    """
    if size <= len(SPECIAL_TOKENS):
        raise DatasetError(f"size = {size}: a vocabulary has the {len(SPECIAL_TOKENS)} special tokens and at least one word")
    try:
        # Imported here, because tokenizers is an optional dependency.
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    except ImportError as error:
        raise MissingExtraError("a tokenizer needs the library tokenizers: pip install 'hubserve[text]'") from error
    start, _, end, unknown = SPECIAL_TOKENS
    model = models.WordLevel(unk_token=unknown) if kind == "words" else models.BPE(unk_token=unknown)
    trainer = trainers.WordLevelTrainer if kind == "words" else trainers.BpeTrainer
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    found: dict[str, Any] = {"vocab_size": size, "min_frequency": least, "special_tokens": list(SPECIAL_TOKENS)}
    tokenizer.train_from_iterator(texts, trainer(**found, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(token, SPECIAL_TOKENS.index(token)) for token in (start, end)]
    )
    content: str = tokenizer.to_str()
    return content
