"""`LoadedModel`, a version of a model that is in memory, and the memory that it takes."""

import os
from dataclasses import dataclass
from pathlib import Path

from hubserve.errors import OtherInputsError
from hubserve.service.engine import Engine
from hubserve.service.tensor_engine import TensorEngine
from hubserve.service.text_engine import AnyEngine, TextEngine

SMALLEST_BYTES = 2**20
"""Smallest memory that is counted for a model. Memory that was freed before is used again, so that growth may be too small."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version of a model in the store that is loaded.

    Attributes:
        tag: Tag of the version, "name:version".
        engine: Engine of the version, warmed up: an Engine of an image classifier, a TextEngine of a text classifier, or else a
            TensorEngine.
        memory_bytes: Memory in bytes by which this process grew when the version was loaded, or the size of its largest file or
            `SMALLEST_BYTES`, whichever is the largest.
    """

    tag: str
    engine: AnyEngine
    memory_bytes: int

    @property
    def image_engine(self) -> Engine:
        """The engine of an image classifier.

        Raises:
            OtherInputsError: The version is no image classifier; the message says what it takes, and where.
        """
        if isinstance(self.engine, Engine):
            return self.engine
        raise self._takes_others("image")

    @property
    def text_engine(self) -> TextEngine:
        """The engine of a text classifier.

        Raises:
            OtherInputsError: The version is no text classifier; the message says what it takes, and where.
        """
        if isinstance(self.engine, TextEngine):
            return self.engine
        raise self._takes_others("text")

    @property
    def classifies_texts(self) -> bool:
        """Whether the version is a text classifier with a tokenizer."""
        return isinstance(self.engine, TextEngine)

    @property
    def classifier(self) -> Engine | TextEngine:
        """The engine of a classifier of images or texts.

        Raises:
            OtherInputsError: The version is another model.
        """
        return self.text_engine if isinstance(self.engine, TextEngine) else self.image_engine

    @property
    def tensor_engine(self) -> TensorEngine | None:
        """The engine that runs tensors of a text classifier or another model; None if the version is an image classifier."""
        engine = self.engine.tensors if isinstance(self.engine, TextEngine) else self.engine
        return engine if isinstance(engine, TensorEngine) else None

    def _takes_others(self, wanted: str) -> OtherInputsError:
        """Returns the error for a version that is no classifier of what is `wanted`, "image" or "text"."""
        engine = self.engine
        if isinstance(engine, Engine):
            takes, send = "images", "them to POST /classify"
        elif isinstance(engine, TextEngine):
            takes, send = "texts", "them to POST /classify-text"
        else:
            takes, send = engine.signature.described, f"tensors to POST /v2/models/{self.tag.partition(':')[0]}/infer"
        article = "an" if wanted == "image" else "a"
        return OtherInputsError(
            f"{self.tag} is no {wanted} classifier: it takes {takes}. Send {send}, or name {article} {wanted} classifier as "
            "`model`"
        )


def resident_bytes() -> int:
    """Returns the resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
