"""Progress of a pass over the shards, with an estimate."""

import logging
import threading
import time
from typing import ClassVar

LOGGER = logging.getLogger("outnumbered.imbalance_sampler")
_EVERY_S = 3.0


class Progress:
    """Counts the shards that this process is done with, and says so every few seconds.

    It travels to Beam's workers with the DoFn that holds it; all copies in a process
    share one count.
    """

    _lock = threading.Lock()
    _done: ClassVar[dict[str, int]] = {}
    _said: ClassVar[dict[str, float]] = {}

    def __init__(self, action: str, total: int):
        """Starts the clock.

        Args:
          action: what is done to the shards, such as `read`.
          total: number of shards.
        """
        self._action = action
        self._total = total
        self._start = time.time()
        self._key = f"{action} {self._start}"

    def advance(self) -> None:
        """Counts one more shard as done."""
        now = time.time()
        with self._lock:
            done = self._done[self._key] = self._done.get(self._key, 0) + 1
            if now - self._said.get(self._key, self._start) < _EVERY_S and done < self._total:
                return
            self._said[self._key] = now
        left = (now - self._start) / done * (self._total - done)
        LOGGER.info(
            "%s %s of %s shards, about %.0f s left",
            self._action,
            format(done, ","),
            format(self._total, ","),
            left,
        )
