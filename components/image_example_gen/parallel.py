"""Works on a few items at a time, also in several threads, and yields the results in order."""

import collections
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# Items at a time: one by one, each kind of work on an image would find the processor's caches full
# of the others' code and data, which costs a fifth of the time.
_AT_ONCE = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    work: Callable[[list[Item]], Iterable[Result]], items: Iterable[Item], *, threads: int
) -> Iterator[Result]:
    """Yields the result of each item, in order.

    Args:
      work: returns the results of a few items; is called in several threads.
      items: at most 16 per thread are in work or wait for their result to be taken.
      threads: of all calls in this process with the same number; 1 for none.
    """
    remaining = iter(items)
    tasks = iter(lambda: list(itertools.islice(remaining, _AT_ONCE)), [])
    if threads == 1:
        yield from itertools.chain.from_iterable(map(work, tasks))
        return
    waiting: collections.deque = collections.deque()
    try:
        for task in tasks:
            waiting.append(_pool(threads).submit(work, task))
            if len(waiting) > threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="images")


# A forked process has none of its parent's threads.
os.register_at_fork(after_in_child=_pool.cache_clear)
