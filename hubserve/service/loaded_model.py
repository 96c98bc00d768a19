"""`LoadedModel`, a model in memory, and `TrafficSplit`, which chooses one of the models that answer for a name."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hubserve.service.engine import Engine


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version of a model in the store that is loaded.

    Attributes:
        tag: Tag of the version, "name:version".
        engine: Engine of the version, which has run each batch size once.
        memory_bytes: Memory in bytes by which this process grew when the version was loaded, or the size of its largest file or
            1 MiB (2**20 bytes) if that is more.
    """

    tag: str
    engine: Engine
    memory_bytes: int


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
