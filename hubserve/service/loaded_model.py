"""`LoadedModel`, a model in memory, and `TrafficSplit`, which chooses one of the loaded models that answer for a name."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass
class TrafficSplit:
    """The loaded models that answer requests for one name.

    Attributes:
        shares: Pairs of a percentage of the requests and the model that answers them.
        used: Time of the last request for the name, by `time.monotonic`.
    """

    shares: Sequence[tuple[int, LoadedModel]]
    used: float = field(default_factory=time.monotonic)

    def pick(self) -> LoadedModel:
        """Returns the model for one request, chosen at random by the percentages. Sets `used` to the current time."""
        self.used = time.monotonic()
        if len(self.shares) == 1:
            return self.shares[0][1]
        weights = [weight for weight, _ in self.shares]
        return random.choices([served for _, served in self.shares], weights)[0]


def resident_bytes() -> int:
    """Returns the resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return 0
