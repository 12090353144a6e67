"""How far a long loop is, and how much longer it takes, on a logger every few seconds."""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_INTERVAL_SECONDS = 3.0


@dataclass
class _Count:
    """What the copies of one Progress in this process have in common."""

    done: int = 0
    told: float = 0.0


_COUNTS: dict[str, _Count] = {}
_LOCK = threading.Lock()


class Progress:
    """Logs lines such as `1,200 of 3,000 train images, about 8 s left`.

    It may travel to Beam's workers with the DoFn that holds it: all copies within a process
    share one count.
    """

    def __init__(
        self,
        what: str,
        *,
        total: int,
        logger: str = "outnumbered.trainer",
        interval: float = _INTERVAL_SECONDS,
        closing: bool = True,
    ):
        """Starts the clock.

        Args:
          what: the things counted, in the plural.
          total: how many there are.
          logger: name of the logger that gets the lines, at INFO.
          interval: seconds between two lines, at least.
          closing: whether a last line says that all is done, however fast that was.
        """
        self._what = what
        self._total = total
        self._logger = logging.getLogger(logger)
        self._interval = interval
        self._closing = closing
        self._key = uuid.uuid4().hex
        # Not the monotonic clock, which is another one on another machine.
        self._started = time.time()

    def advance(self, count: int) -> None:
        """Counts `count` more as done, and logs a line when one is due."""
        now = time.time()
        with _LOCK:
            shared = _COUNTS.setdefault(self._key, _Count(told=self._started))
            shared.done = done = min(shared.done + count, self._total)
            ends = self._closing and done >= self._total
            if not ends and now - shared.told < self._interval:
                return
            shared.told = now
        self._logger.info(
            "%s of %s %s, %s",
            f"{done:,}",
            f"{self._total:,}",
            self._what,
            time_left(now - self._started, done, self._total),
        )


def time_left(elapsed: float, done: float, total: float) -> str:
    """In words, how long the rest takes at the pace so far.

    Args:
      elapsed: seconds since the start.
      done: part done so far, above 0.
      total: all there is, in the same unit.
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
) -> Iterator[None]:
    """While the block runs, logs from time to time how much is done, whoever does the work.

    Args:
      done: gives the number of things done so far.
      total: how many there are.
      logger: name of the logger that gets the lines, at INFO.
      what: the things counted, in the plural.
      interval: seconds between two lines.
    """
    progress = Progress(what, total=total, logger=logger, interval=0, closing=False)
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
