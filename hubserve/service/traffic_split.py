"""`TrafficSplit`: chooses the version that answers a request where several share the requests for a name."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hubserve.service.loaded_model import LoadedModel


@dataclass
class TrafficSplit:
    """The loaded models that answer requests for one name.

    Attributes:
        shares: Pairs of a percentage of the requests and the model that answers them, at least one. The percentages need not
            add up to 100: they are weights.
        used: Time of the last request for the name, by `time.monotonic`; before the first one, the time of creation.
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
