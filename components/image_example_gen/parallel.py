"""Reads several images at the same time, and yields the results in order."""

import argparse
import collections
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

AUTO = "auto"
# Their children cost more than they save with fewer images.
_MIN_IMAGES = 2000
# Items of a task: handing over one at a time would cost a tenth of the time that one takes.
_TASK = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


class ImageWorkerOptions(PipelineOptions):
    """Beam's options with `--image_workers`."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--image_workers",
            default="1",
            help="Processes in which a Beam worker decodes images: a number, or auto for one "
            "more than there are cores.",
        )


def image_workers(beam_args: Iterable[str], images: int) -> int:
    """Returns in how many processes each worker decodes images.

    Args:
      beam_args: options of Beam, such as `--image_workers=auto`.
      images: number of images to read.
    """
    given = PipelineOptions(list(beam_args)).view_as(ImageWorkerOptions).image_workers
    if given != AUTO:
        return int(given)
    if images < _MIN_IMAGES or cores() == 1:
        return 1
    return cores() + 1  # so that no core is idle while this process passes on what it has read


def cores() -> int:
    """Returns the number of cores that this process may use, within its container's limit."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup of version 2, or "max"
        return allowed


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int
) -> Iterator[Result]:
    """Yields the result of each item, in order, as `map` does.

    Args:
      work: is called in several threads.
      items: at most 16 per thread are in work or wait for their result to be taken.
      threads: of all calls in this process with the same number; 1 for none.
    """
    if threads == 1:
        yield from map(work, items)
        return
    remaining = iter(items)
    waiting: collections.deque = collections.deque()
    try:
        while task := list(itertools.islice(remaining, _TASK)):
            waiting.append(_pool(threads).submit(_all, work, task))
            if len(waiting) > 3 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _all(work: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [work(item) for item in items]


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="images")


# A forked process has none of its parent's threads.
os.register_at_fork(after_in_child=_pool.cache_clear)
