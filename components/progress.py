"""Logs the progress of a long loop and the time left, every few seconds."""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_INTERVAL_SECONDS = 3.0
_CLOCK_TICK = 1e-3


@dataclass
class _Count:
    """Shared by all copies of one Progress in this process."""

    done: int = 0
    logged: float = 0.0


_COUNTS: dict[str, _Count] = {}
_LOCK = threading.Lock()


class Progress:
    """Logs lines such as `1,200 of 3,000 train images, about 8 s left`.

    It can be pickled, for example in a Beam DoFn: all copies within a process share one count.
    """

    def __init__(
        self,
        what: str,
        *,
        total: int,
        logger: str = "outnumbered.trainer",
        interval: float = _INTERVAL_SECONDS,
        closing: bool = True,
        with_rate: bool = False,
    ):
        """Starts the clock.

        Args:
          what: the items counted, in the plural.
          total: the number of items.
          logger: name of the logger, which is used at level INFO.
          interval: minimum seconds between two lines.
          closing: whether to log a last line even if the interval has not passed.
          with_rate: whether a line also tells the items a second.
        """
        self._what = what
        self._total = total
        self._logger = logging.getLogger(logger)
        self._interval = interval
        self._closing = closing
        self._with_rate = with_rate
        self._key = uuid.uuid4().hex
        # Not the monotonic clock, which differs between machines.
        self._started = time.time()

    def advance(self, count: int) -> None:
        """Adds `count` to the items done, and logs a line if the interval has passed."""
        now = time.time()
        with _LOCK:
            shared = _COUNTS.setdefault(self._key, _Count(logged=self._started))
            shared.done = done = min(shared.done + count, self._total)
            ends = self._closing and done >= self._total
            if not ends and now - shared.logged < self._interval:
                return
            shared.logged = now
        elapsed = now - self._started
        rate = f"{done / max(elapsed, _CLOCK_TICK):,.0f} a second, " if self._with_rate else ""
        self._logger.info(
            "%s of %s %s, %s%s",
            f"{done:,}",
            f"{self._total:,}",
            self._what,
            rate,
            time_left(elapsed, done, self._total),
        )


class Counter:
    """Counts items; all copies in a process, such as those of a Beam DoFn, share one count."""

    def __init__(self) -> None:
        """Starts at 0."""
        self._key = uuid.uuid4().hex

    def advance(self, count: int) -> None:
        """Adds `count` items."""
        with _LOCK:
            _COUNTS.setdefault(self._key, _Count()).done += count

    @property
    def done(self) -> int:
        """The items counted in this process."""
        with _LOCK:
            return _COUNTS.setdefault(self._key, _Count()).done


def time_left(elapsed: float, done: float, total: float) -> str:
    """Describes the time left at the speed so far.

    Args:
      elapsed: seconds since the start.
      done: amount done so far, above 0.
      total: total amount, in the same unit.
    """
    seconds = round(elapsed * (total - done) / done)
    if seconds < 1:
        return "done" if done >= total else "about 1 s left"
    if seconds < 90:
        return f"about {seconds} s left"
    return f"about {round(seconds / 60)} min left"


@contextlib.contextmanager
def watched(
    done: Callable[[], int],
    *,
    total: int,
    logger: str,
    what: str = "images",
    interval: float = _INTERVAL_SECONDS,
    with_rate: bool = False,
) -> Iterator[None]:
    """Logs progress while the block runs, for work done elsewhere, such as in Beam's workers.

    Args:
      done: returns the number of items done so far.
      total: the number of items.
      logger: name of the logger, which is used at level INFO.
      what: the items counted, in the plural.
      interval: seconds between two lines.
      with_rate: whether a line also tells the items a second.
    """
    progress = Progress(
        what, total=total, logger=logger, interval=0, closing=False, with_rate=with_rate
    )
    ended = threading.Event()

    def watch() -> None:
        counted = 0
        while not ended.wait(interval):
            now = min(total, done())
            if now > counted:
                progress.advance(now - counted)
                counted = now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
