"""`FileKind`: which files of a folder are items of a data set, and what messages call them."""

from dataclasses import dataclass

from hubserve.image_names import SUFFIXES


@dataclass(frozen=True)
class FileKind:
    """A kind of files that a data set is made of.

    Attributes:
        noun: Word for one of them in messages.
        suffixes: Suffixes of their names, in lower case.
    """

    noun: str
    suffixes: frozenset[str]


IMAGES = FileKind("image", SUFFIXES)
TEXTS = FileKind("text", frozenset({".txt"}))
