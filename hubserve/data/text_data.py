"""`TextData`: labelled texts with a training, a validation and a test part, and `text_data`, which tokenizes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from hubserve.data.names import PARTS, Part
from hubserve.data.search_data import SearchData
from hubserve.data.text_dataset import PADDING, LabelledText, TextDataset
from hubserve.data.tokenizer_training import SPECIAL_TOKENS, Kind, train_tokenizer
from hubserve.package.manifest import InputEntry
from hubserve.package.text_tokenizer import TextTokenizer

VocabularySize = Annotated[int, Field(gt=len(SPECIAL_TOKENS), le=200_000)]
"""Largest number of tokens in a vocabulary."""

MostTokens = Annotated[int, Field(ge=3, le=4096)]
"""Largest number of tokens of a text, those at its start and end included; longer texts are cut."""


@dataclass(frozen=True)
class TextData(SearchData):
    """A labelled data set of texts in three parts; an evaluator accepts it as `datamodule`.

    The items of its parts are pairs (token ids, class index), see `TextDataset`.

    Attributes, besides those of `SearchData`:
        train: Training part, by whose texts the tokenizer was trained.
        val: Validation part.
        test: Test part.
        labels: Names of the classes, in the order of their indices.
        tokenizer: Content of tokenizer.json, which goes into the package of a network trained on these texts.
        vocabulary: Number of tokens in the vocabulary.
        max_tokens: Largest number of tokens of a text.
        notes: Messages for the user about texts that are left out.
    """

    train: TextDataset
    val: TextDataset
    test: TextDataset
    labels: tuple[str, ...]
    tokenizer: str
    vocabulary: int
    max_tokens: int
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """A SHA-256, in hexadecimal, over the texts, their classes and their parts."""
        found = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            for text, label in zip(part.texts, part.targets.tolist(), strict=True):
                found.update(b"%d\0%b\0" % (label, text.encode()))
            found.update(b"\1")
        return found.hexdigest()


def text_data(
    name: str,
    parts: Mapping[Part, Sequence[LabelledText]],
    labels: tuple[str, ...],
    *,
    vocabulary: int,
    max_tokens: int,
    kind: Kind,
    notes: tuple[str, ...] = (),
) -> TextData:
    """Trains a tokenizer on the training texts, and returns the texts as a data set in three parts.

    Args:
        name: Name of the data set.
        parts: Texts of each part.
        labels: Names of the classes, in the order of their indices.
        vocabulary: Largest number of tokens in the vocabulary, above that of `SPECIAL_TOKENS`.
        max_tokens: Largest number of tokens of a text, those at its start and end included, at least 3; longer texts are cut.
        kind: "words", or "bpe" for parts of words.
        notes: Messages for the user.

    Raises:
        DatasetError: `vocabulary` is too small for any word.
        MissingExtraError: The library `tokenizers` is not installed.
        PackageError: `max_tokens` is below 3.
        TextError: A text is not allowed, see `TextTokenizer.encode`.
    """
    content = train_tokenizer((text for text, _ in parts["train"]), size=vocabulary, kind=kind)
    tokenizer = TextTokenizer(content, token_entry(vocabulary, max_tokens))
    train, val, test = (TextDataset(parts[part], tokenizer) for part in PARTS)
    return TextData(
        name,
        train,
        val,
        test,
        labels=labels,
        tokenizer=content,
        vocabulary=tokenizer.size,
        max_tokens=max_tokens,
        notes=notes,
    )


def token_entry(vocabulary: int, max_tokens: int) -> InputEntry:
    """Returns the description of the input of a network that takes texts, as the manifest of a package has it.

    Args:
        vocabulary: Number of tokens in the vocabulary: ids are below it.
        max_tokens: Largest number of tokens of a text.
    """
    return InputEntry(
        name="tokens",
        dtype="int64",
        shape=("batch", "length"),
        prepared_by="text",
        lowest=0,
        highest=vocabulary - 1,
        padding=PADDING,
        axes={"length": (1, max_tokens)},
    )
