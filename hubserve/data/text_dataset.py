"""`TextDataset`: a torch data set of labelled texts, which are token ids in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hubserve.data.tokenizer_training import SPECIAL_TOKENS
from hubserve.package.text_tokenizer import TextTokenizer

PADDING = SPECIAL_TOKENS.index("<pad>")

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
