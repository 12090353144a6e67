"""Reads the next images of a bucket in threads while an earlier one is decoded.

A store takes some milliseconds to answer, in which one thread would wait. Files on disk are read
where they are used, without threads.
"""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from components.image_example_gen import files
from components.image_example_gen.image_bytes import read_file
from components.image_example_gen.sources import ImageRecord
from components.stores import StoreError

IMAGES_AHEAD = 64
"""The most images that are being read, or wait in memory, at a time; with several streams twice
as many."""

BYTES_AHEAD = 64 << 20
"""The most bytes of them together, as listed; a larger image is read alone."""

Read = Callable[[], bytes]
"""Returns the content of an image, or raises what `read_file` raises."""


@contextlib.contextmanager
def reads(records: Sequence[ImageRecord], max_pixels: int) -> Iterator[Iterator[Read]]:
    """Yields an iterator of functions that return the contents of images, in the same order.

    Each is called once, by any thread. What was taken from the iterator is not counted any more.

    Args:
      records: the images.
      max_pixels: pixels above which an image is refused.
    """
    if not any(files.is_remote(record.path) for record in records):
        yield (_read_of(record, max_pixels) for record in records)
        return
    with streams([records], max_pixels) as (contents,):
        yield contents


@contextlib.contextmanager
def streams(
    records: Sequence[Iterable[ImageRecord]], max_pixels: int
) -> Iterator[list[Iterator[Read]]]:
    """Yields for each stream of images what `reads` yields, for use in a thread of its own.

    All are read by the same threads, within the same bounds. At the end, those who wait for an
    image get an error, and do not wait for a store that does not answer.

    Args:
      records: of each stream; an image is taken from it when it may be read.
      max_pixels: pixels above which an image is refused.
    """
    count = max(1, len(records))
    images = min(IMAGES_AHEAD, -(-2 * IMAGES_AHEAD // count))
    ahead = _Ahead(images * count)
    try:
        yield [ahead.in_order(each, max_pixels, images, BYTES_AHEAD // count) for each in records]
    finally:
        ahead.close()


def _read_of(record: ImageRecord, max_pixels: int) -> Read:
    return partial(read_file, record.path, record.size, max_pixels)


class _Ahead:
    """Threads that read images."""

    def __init__(self, threads: int):
        """Starts none yet.

        Args:
          threads: the most of them.
        """
        self._most = threads
        self._started = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._unread: set[_Task] = set()

    def in_order(
        self, records: Iterable[ImageRecord], max_pixels: int, most_images: int, most_bytes: int
    ) -> Iterator[Read]:
        waiting: deque[_Task] = deque()
        ahead = 0
        following = iter(records)
        upcoming = next(following, None)
        while upcoming or waiting:
            while upcoming and len(waiting) < most_images:
                size = max(0, upcoming.size)
                if waiting and ahead + size > most_bytes:
                    break
                task = _Task(_read_of(upcoming, max_pixels), size)
                self._begin(task)
                waiting.append(task)
                ahead += size
                upcoming = next(following, None)
            # Counted until it is used.
            yield waiting[0].result
            ahead -= waiting.popleft().size

    def close(self) -> None:
        """Ends the threads after the reads that have begun, for which nobody waits any more."""
        with self._lock:
            self._is_closed = True
            unread, started = [*self._unread], self._started
        with contextlib.suppress(queue.Empty):
            while True:
                self._tasks.get_nowait()
        for task in unread:
            task.drop()
        for _ in range(started):
            self._tasks.put(None)

    def _begin(self, task: "_Task") -> None:
        with self._lock:
            if self._is_closed:
                task.drop()
                return
            self._unread.add(task)
            if self._started < self._most:
                self._started += 1
                # A daemon: an interrupted process does not wait for a store that does not answer.
                threading.Thread(target=self._work, daemon=True).start()
            self._tasks.put(task)

    def _work(self) -> None:
        while task := self._tasks.get():
            task.run()
            with self._lock:
                self._unread.discard(task)


class _Task:
    """A call whose result is waited for."""

    def __init__(self, function: Read, size: int):
        self.size = size
        self._function = function
        self._done: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()

    def run(self) -> None:
        try:
            self._done.put(self._function())
        except BaseException as error:  # the waiting thread raises it
            self._done.put(error)

    def drop(self) -> None:
        """Ends the waiting for a result that will not be there."""
        self._done.put(StoreError("it was not read, since the reading of all images has ended"))

    def result(self) -> bytes:
        """Waits; may be called once."""
        found = self._done.get()
        if isinstance(found, BaseException):
            raise found
        return found
