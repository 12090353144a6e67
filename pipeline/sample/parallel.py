"""Runs batches of work in processes that stop when they should."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def run_batches(
    work: Callable[[Batch], Result], batches: Sequence[Batch], workers: int
) -> Iterator[Result]:
    """Yields `work(batch)` for each batch, in order.

    Args:
        work: A function that spawned processes can import.
        batches: What to call it with.
        workers: How many processes share the batches; 1 works in this process.
    """
    workers = min(workers, len(batches))
    if workers == 1:
        yield from map(work, batches)
        return
    # Spawned, not forked: the caller may have threads, which a fork would leave half alive.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_watch_parent)
    try:
        with _interrupts_held_back():
            results = pool.map(work, batches)
        yield from results
    finally:
        # Without this an interrupted caller would wait for every batch that is still queued.
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Keeps Ctrl-C off this thread for a moment, and off the processes it starts for good.

    Only the parent is to be interrupted; a worker would answer with a traceback of its own.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch_parent() -> None:
    """Makes this worker end when its parent is gone, killed or not; it would wait for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
