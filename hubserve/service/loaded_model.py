"""A model that is loaded, and how the traffic of a name is split among those that answer for it."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hubserve.service.engine import Engine


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version that is loaded.

    Attributes:
        tag: "name:version".
        engine: Its engine, warmed up.
        memory_bytes: Bytes by which this process grew when it was loaded; at least its largest file, and 1 MB.
    """

    tag: str
    engine: Engine
    memory_bytes: int


@dataclass
class TrafficSplit:
    """The loaded models that answer for a name.

    Attributes:
        shares: Percent of the traffic with the model that gets it.
        used: Time of the last request for the name, in seconds of the monotonic clock.
    """

    shares: Sequence[tuple[int, LoadedModel]]
    used: float = field(default_factory=time.monotonic)

    def pick(self) -> LoadedModel:
        """The model for one request, chosen at random by the shares."""
        self.used = time.monotonic()
        if len(self.shares) == 1:
            return self.shares[0][1]
        weights = [weight for weight, _ in self.shares]
        return random.choices([served for _, served in self.shares], weights)[0]
