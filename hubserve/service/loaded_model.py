"""`LoadedModel`, a version of a model that is in memory, and the memory that it takes."""

from dataclasses import dataclass
from pathlib import Path

from hubserve.errors import OtherInputsError
from hubserve.service.engine import Engine
from hubserve.service.tensor_engine import TensorEngine

SMALLEST_BYTES = 2**20
"""Smallest memory that is counted for a model. Memory that was freed before is used again, so that growth may be too small."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version of a model in the store that is loaded.

    Attributes:
        tag: Tag of the version, "name:version".
        engine: Engine of the version, warmed up: a TensorEngine if the version is no image classifier.
        memory_bytes: Memory in bytes by which this process grew when the version was loaded, or the size of its largest file or
            `SMALLEST_BYTES`, whichever is the largest.
    """

    tag: str
    engine: Engine | TensorEngine
    memory_bytes: int

    @property
    def image_engine(self) -> Engine:
        """The engine of an image classifier.

        Raises:
            OtherInputsError: The version is no image classifier; the message says what it takes.
        """
        if isinstance(self.engine, Engine):
            return self.engine
        takes = self.engine.signature.described
        raise OtherInputsError(
            f"{self.tag} is no image classifier: it takes {takes}. Send tensors to POST /v2/models/"
            f"{self.tag.partition(':')[0]}/infer, or name an image classifier as `model`"
        )

    @property
    def tensor_engine(self) -> TensorEngine | None:
        """The engine of a model of other inputs; None if the version is an image classifier."""
        return self.engine if isinstance(self.engine, TensorEngine) else None


def resident_bytes() -> int:
    """Returns the resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return 0
