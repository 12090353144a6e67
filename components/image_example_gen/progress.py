"""Tells how far an ingestion is, whichever machines do the work."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from components.progress import Progress

LOGGER = logging.getLogger("outnumbered.image_example_gen")

_INTERVAL_SECONDS = 3.0


@contextlib.contextmanager
def watched(
    done: Callable[[], int], *, total: int, interval: float = _INTERVAL_SECONDS
) -> Iterator[None]:
    """While the block runs, logs from time to time how many images are done.

    Args:
      done: gives the number of images done so far.
      total: how many there are.
      interval: seconds between two lines.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(done, total, interval, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(done: Callable[[], int], total: int, interval: float, ended: threading.Event) -> None:
    progress = Progress("images", total=total, logger=LOGGER.name, interval=0, closing=False)
    counted = 0
    while not ended.wait(interval):
        now = min(total, done())
        if now > counted:
            progress.advance(now - counted)
            counted = now
