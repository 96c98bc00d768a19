"""`TextDataset`, token ids of labelled texts, and `text_data`, which makes a data set in three parts of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from hubserve.data.labelled_data import LabelledData
from hubserve.data.names import PARTS, Part
from hubserve.data.scan import Scan
from hubserve.data.tokenizer_training import SPECIAL_TOKENS, Kind, train_tokenizer
from hubserve.package.manifest import InputEntry
from hubserve.package.text_tokenizer import TextTokenizer

PADDING = SPECIAL_TOKENS.index("<pad>")

VocabularySize = Annotated[int, Field(gt=len(SPECIAL_TOKENS), le=200_000)]
"""Largest number of tokens in a vocabulary."""

MostTokens = Annotated[int, Field(ge=3, le=4096)]
"""Largest number of tokens of a text, those at its start and end included; longer texts are cut."""

LabelledText = tuple[str, int]
"""A text and the index of its class."""


class TextDataset(Dataset[tuple[Tensor, Tensor]]):
    """A data set of texts, which are token ids in memory.

    An item is a pair of the token ids, (length,) int64, and the class index. The items of a batch are padded at their end to
    the longest of them.

    Args:
        items: Pairs of a text and the index of its class.
        tokenizer: Tokenizer of the texts.

    Attributes:
        texts: The texts.
        targets: Index of the class of each text, (n,) int64.

    Raises:
        TextError: A text is not allowed, see `TextTokenizer.encode`.
    """

    def __init__(self, items: Sequence[LabelledText], tokenizer: TextTokenizer) -> None:
        self.texts = tuple(text for text, _ in items)
        self.targets = torch.tensor([label for _, label in items], dtype=torch.long)
        self._ids: list[NDArray[np.int64]] = [tokenizer.encode([text])[0] for text in self.texts]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Returns the items with these indices, padded to one length.

        If a data set has this method, `torch.utils.data.DataLoader` calls it in place of `__getitem__` for each item.
        """
        rows = [self._ids[index] for index in indices]
        ids = np.full((len(rows), max(map(len, rows), default=0)), PADDING, np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        return list(zip(torch.from_numpy(ids).unbind(), self.targets[list(indices)].unbind(), strict=True))


def text_data(
    name: str,
    parts: Mapping[Part, Sequence[LabelledText]],
    labels: tuple[str, ...],
    *,
    vocabulary: int,
    max_tokens: int,
    kind: Kind,
    scan: Scan | None = None,
) -> LabelledData:
    """Trains a tokenizer on the training texts, and returns the texts as a data set in three parts.

    Args:
        name: Name of the data set.
        parts: Texts of each part.
        labels: Names of the classes, in the order of their indices.
        vocabulary: Largest number of tokens in the vocabulary.
        max_tokens: Largest number of tokens of a text, those at its start and end included.
        kind: "words", or "bpe" for parts of words.
        scan: Report on the user's files; None for a data set that is loaded by name.

    Raises:
        MissingExtraError: The library `tokenizers` is not installed.
        TextError: A text is not allowed, see `TextTokenizer.encode`.
    """
    content = train_tokenizer((text for text, _ in parts["train"]), size=vocabulary, kind=kind)
    tokenizer = TextTokenizer(content, token_entry(vocabulary, max_tokens))
    train, val, test = (TextDataset(parts[part], tokenizer) for part in PARTS)
    # The network has a row for each token that the vocabulary has, which may be fewer than were allowed.
    settings = {"vocab_size": tokenizer.size, "max_length": max_tokens, "pad_id": PADDING}
    return LabelledData(name, train, val, test, labels, None, scan, tokenizer=content, space_settings=settings)


def token_entry(vocabulary: int, max_tokens: int) -> InputEntry:
    """Returns the input of a network that takes texts.

    Args:
        vocabulary: Number of tokens in the vocabulary.
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
