"""`Clock`: measures how long a fine-tuning takes, summed over all processes that worked on it."""

import time


class Clock:
    """A clock that starts when it is created and adds the seconds of earlier, interrupted processes.

    Attributes:
        before: Seconds that earlier processes worked on the fine-tuning; 0 for a new one.
    """

    def __init__(self) -> None:
        self.before = 0.0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Returns the seconds that the fine-tuning has taken so far."""
        return self.before + time.monotonic() - self._start
