"""`TextTokenizer`: turns texts into the token ids that a model takes, with the tokenizer in its package (tokenizer.json)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from hubserve.bounded_files import read_bounded_text
from hubserve.errors import MissingExtraError, PackageError, TextError
from hubserve.package.manifest import InputEntry
from hubserve.storage_faults import denial

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
"""Name of the file in a package, in the format of the library `tokenizers`."""

LONGEST_TEXT = 20_000
"""Largest number of characters of a text, also after Unicode's NFKC."""

MOST_TOKENIZER_BYTES = 16 * 2**20
"""Largest tokenizer.json that is read, in bytes; that of 50,000 words takes about 3 MB."""

ALLOWED_PARTS: dict[str, tuple[str, ...]] = {
    "model": ("WordLevel", "BPE"),
    "normalizer": ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "BertNormalizer"),
    "pre_tokenizer": ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "Punctuation", "Digits", "ByteLevel"),
    "post_processor": ("TemplateProcessing", "RobertaProcessing", "BertProcessing", "ByteLevel"),
}
"""The kinds of each part of a tokenizer that are read: their time grows in proportion to the text, or little faster.

Those with a regular expression in the file are missing, since the author of a package can write one that never ends."""

LISTS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors"}
"""Key of the list of a "Sequence", by the part."""


class TextTokenizer:
    """A tokenizer: turns texts into token ids, as the input of a model describes them.

    It may be called from several threads. Special tokens such as "<pad>" are not looked for in texts.

    >>> TextTokenizer.read(Path("my-model"), manifest.input).encode(["a good film", "a bad one"]).shape
    (2, 5)

    Args:
        content: Tokenizer as JSON, in the format of the library `tokenizers`.
        entry: Input of the model, which is prepared from texts.
        where: Path of the file, for error messages.

    Raises:
        MissingExtraError: The library `tokenizers` is not installed.
        PackageError: `content` is no tokenizer, has an empty vocabulary, dropout or a part that is not allowed
            (`ALLOWED_PARTS`), has ids that the model does not take, or adds as many tokens to each text as the model takes; or
            `entry` is not prepared from texts.
    """

    def __init__(self, content: str, entry: InputEntry, *, where: str = TOKENIZER) -> None:
        if entry.prepared_by != "text" or entry.padding is None:
            raise PackageError(f"{where}: the input {entry.name!r} is not prepared from texts")
        self._where, self._padding, self._highest = where, entry.padding, entry.highest
        self._shortest, self._longest = entry.axes.get(str(entry.shape[1]), (1, None))
        _check_parts(content, where)
        self._tokenizer = _parsed(content, where)
        self._check_ids()
        self._set_truncation()

    @classmethod
    def read(cls, folder: Path, entry: InputEntry) -> TextTokenizer:
        """Reads tokenizer.json in the folder of a package.

        Args:
            folder: Folder of the package.
            entry: Input of the model, which is prepared from texts.

        Raises:
            MissingExtraError: The library `tokenizers` is not installed.
            PackageError: The file cannot be read, has more than `MOST_TOKENIZER_BYTES`, or is not allowed; see the class.
        """
        path = folder / TOKENIZER
        try:
            content = read_bounded_text(path, MOST_TOKENIZER_BYTES)
        except (OSError, UnicodeDecodeError) as error:
            raise PackageError(f"{path} cannot be read: {denial(error, path) or error}; export the model again") from error
        return cls(content, entry, where=str(path))

    @property
    def size(self) -> int:
        """Number of tokens in the vocabulary."""
        return self._tokenizer.get_vocab_size()

    def tokens(self, text: str) -> list[str]:
        """Returns the tokens of a text, those at its start and end included; text is cut where `encode` cuts it.

        Raises:
            TextError: The text is not allowed; see `check_texts`.
        """
        check_texts([text])
        return list(self._tokenizer.encode(text).tokens)

    def encode(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Returns the token ids of texts, (n, length) int64, filled up with the padding of the input.

        The length is that of the longest text, or the smallest one that the model takes if that is larger. A text with more
        tokens than the model takes is cut at its end. The ids of a text do not depend on the other texts.

        Args:
            texts: Texts, at least one.

        Raises:
            TextError: A text is not allowed, see `check_texts`, or all its token ids are the padding.
            PackageError: The tokenizer gives an id that the model does not take.
        """
        check_texts(texts)
        rows = [self._row(text) for text in texts]
        length = max(self._shortest, *map(len, rows))
        ids = np.full((len(rows), length), self._padding, np.int64)
        for row, found in zip(ids, rows, strict=True):
            row[: len(found)] = found
        if ids.min() < 0 or (self._highest is not None and ids.max() > self._highest):
            raise PackageError(f"{self._where} gives the id {ids.max()}, and the model takes 0 to {self._highest}")
        return ids

    def _row(self, text: str) -> list[int]:
        """Returns the ids of a text. Raises TextError if all of them are the padding."""
        ids: list[int] = self._tokenizer.encode(text).ids
        if all(number == self._padding for number in ids):
            raise TextError(f"the text {text[:40]!r} has no token that the model knows")
        return ids

    def _check_ids(self) -> None:
        """Raises PackageError if the vocabulary has an id that the model does not take."""
        numbers = self._tokenizer.get_vocab().values()
        if not numbers:
            raise PackageError(f"{self._where} has an empty vocabulary; export the model again")
        if self._highest is not None and max(numbers) > self._highest:
            raise PackageError(
                f"{self._where} has ids up to {max(numbers)}, and the model takes at most {self._highest}: it is the tokenizer "
                "of another model"
            )

    def _set_truncation(self) -> None:
        """Makes the tokenizer cut long texts; settings for that in the file are ignored, as are those of padding.

        Raises:
            PackageError: The tokenizer adds as many tokens to each text as the model takes, or more.
        """
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if self._longest is None:
            return
        added = self._tokenizer.num_special_tokens_to_add(False)
        if added >= self._longest:
            raise PackageError(
                f"{self._where} adds {added} tokens to each text, and the model takes at most {self._longest} in all"
            )
        self._tokenizer.enable_truncation(self._longest)


def check_texts(texts: Sequence[str]) -> None:
    """Checks that texts may be given to a tokenizer.

    Raises:
        TextError: There is no text, or one is empty or white space alone, has more than `LONGEST_TEXT` characters, or is not
            valid Unicode.
    """
    if not texts:
        raise TextError("no text is given; give at least one")
    for place, text in enumerate(texts):
        fault = text_fault(text)
        if fault is not None:
            raise TextError(f"the text {fault}" if len(texts) == 1 else f"text {place}, counted from 0, {fault}")


def text_fault(text: str) -> str | None:
    """Returns why a text may not be given to a tokenizer, as the end of a sentence, such as "is empty"; None if it may."""
    # NFKC writes some characters as up to 18 others.
    length = max(len(text), len(normalize("NFKC", text[: LONGEST_TEXT + 1])))
    if length > LONGEST_TEXT:
        return f"has {length:,} characters, and at most {LONGEST_TEXT:,} are allowed"
    if not text.strip():
        return "is empty"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"is not valid Unicode: {error.reason} at character {error.start}"
    return None


def _parsed(content: str, where: str) -> Tokenizer:
    """Returns the tokenizer. Raises MissingExtraError, or PackageError if the library cannot read `content`."""
    try:
        # Imported here, because tokenizers is an optional dependency.
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("texts need the library tokenizers: pip install 'hubserve[text]'") from error
    try:
        tokenizer = Tokenizer.from_str(content)
        tokenizer.encode_special_tokens = True  # A user's text may contain "<pad>"; it stays text.
    except Exception as error:  # The library raises the class Exception itself.
        raise PackageError(f"{where} is no tokenizer that this version reads: {error}; export the model again") from error
    return tokenizer


def _check_parts(content: str, where: str) -> None:
    """Raises PackageError if `content` is no JSON object, has a part of a kind that is not allowed, or sets dropout."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{where} is no JSON: {error}; export the model again") from error
    if not isinstance(found, dict):
        raise PackageError(f"{where} holds a {type(found).__name__}; expected a tokenizer; export the model again")
    for part, allowed in ALLOWED_PARTS.items():
        for kind in _kinds(found.get(part), LISTS.get(part, "")):
            if kind not in allowed:
                raise PackageError(f"{where}: {part} is {str(kind)[:40]!r}; allowed are {', '.join(allowed)}")
    if isinstance(found["model"], dict) and found["model"].get("dropout"):
        raise PackageError(f"{where}: model.dropout is set, which makes tokens random; set it to null")


def _kinds(part: Any, members: str) -> Iterator[str]:
    """Yields the kind of a part of a tokenizer, or of each member of a "Sequence".

    Args:
        part: The part, as JSON has it.
        members: Key of the list of a "Sequence"; for a part that may be one, which may also be missing (None yields nothing).
            Empty for other parts.
    """
    if part is None and members:
        return
    if not isinstance(part, dict):
        yield type(part).__name__
    elif part.get("type") == "Sequence" and members:
        inner = part.get(members)
        for entry in inner if isinstance(inner, list) else (inner,):
            yield from _kinds(entry, members) if entry is not None else iter(["None"])
    else:
        yield str(part.get("type"))
