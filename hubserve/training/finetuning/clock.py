"""Clock: the time that a fine-tuning has taken, over all processes that worked on it."""

import time


class Clock:
    """Seconds that a fine-tuning has taken, those of an interrupted process included.

    Attributes:
        before: Seconds of earlier processes.
    """

    def __init__(self) -> None:
        self.before = 0.0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Returns the seconds that the fine-tuning has taken so far."""
        return self.before + time.monotonic() - self._start
