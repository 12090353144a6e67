"""Reads the next images of a bucket in threads while an earlier one is decoded.

A store takes some milliseconds to answer, in which one thread would wait. Files on disk are read
where they are used, without threads.
"""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from components.image_example_gen import files
from components.image_example_gen.image_bytes import read_file
from components.image_example_gen.sources import ImageRecord
from components.stores import StoreError

IMAGES_AHEAD = 32
"""The most images that are being read, or wait in memory, at a time."""

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
    each = [partial(read_file, record.path, record.size, max_pixels) for record in records]
    if not any(files.is_remote(record.path) for record in records):
        yield iter(each)
        return
    ahead = _Ahead(min(IMAGES_AHEAD, len(records)))
    try:
        yield ahead.in_order(each, [max(0, record.size) for record in records])
    finally:
        ahead.close()


class _Ahead:
    """Threads that call functions."""

    def __init__(self, threads: int):
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = threads
        for _ in range(threads):
            # Daemons: an interrupted process does not wait for a store that does not answer.
            threading.Thread(target=self._work, daemon=True).start()

    def in_order(self, functions: Sequence[Read], sizes: Sequence[int]) -> Iterator[Read]:
        waiting: deque[_Task] = deque()
        ahead = 0
        following = iter(zip(functions, sizes, strict=True))
        upcoming = next(following, None)
        while upcoming or waiting:
            while upcoming and len(waiting) < IMAGES_AHEAD:
                function, size = upcoming
                if waiting and ahead + size > BYTES_AHEAD:
                    break
                task = _Task(function, size)
                self._tasks.put(task)
                waiting.append(task)
                ahead += size
                upcoming = next(following, None)
            # Counted until it is used.
            yield waiting[0].result
            ahead -= waiting.popleft().size

    def close(self) -> None:
        """Ends the threads after the reads that have begun."""
        with contextlib.suppress(queue.Empty):
            while True:
                if task := self._tasks.get_nowait():
                    task.drop()
        for _ in range(self._threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while task := self._tasks.get():
            task.run()


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
