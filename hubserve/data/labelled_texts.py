"""`LabelledTexts`: texts with the classes of an existing text classifier, and how reports name a text."""

from dataclasses import dataclass
from typing import ClassVar

from hubserve.data.folder_walk import LeftOut
from hubserve.data.match_class_folders import Rule
from hubserve.data.names import Part
from hubserve.package.accuracy_report import Items

MOST_CHARACTERS = 80


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with the class indices of one given model.

    Attributes:
        items: Pairs of a text and the index of its class.
        rule: How the names of the classes gave their indices; see `LabelledImages.rule`.
        left_out: Texts and files that are not used, because they are empty, for example.
        drawn: Whether these are the texts of the test part of the data that the model was trained on.
        part: Part of the data that these texts are; None if the data are not divided into parts.
    """

    kind: ClassVar[Items] = "texts"

    items: tuple[tuple[str, int], ...]
    rule: Rule
    left_out: tuple[LeftOut, ...] = ()
    drawn: bool = False
    part: Part | None = None

    @property
    def files(self) -> list[str]:
        """The beginning of each text, by which messages name it."""
        return [beginning(text) for text, _ in self.items]


def beginning(text: str) -> str:
    """Returns a text, or the start of a long one, by which reports name it."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
