"""Runs batches of work in processes that stop with their parent."""

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
        batches: Its arguments, one call per batch.
        workers: Number of processes; 1 runs in this process.
    """
    workers = min(workers, len(batches))
    if workers == 1:
        yield from map(work, batches)
        return
    # Spawned, not forked: the caller may have threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_watch_parent)
    try:
        with _interrupts_blocked():
            results = pool.map(work, batches)
        yield from results
    finally:
        # Otherwise an interrupted caller would wait for all queued batches.
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Blocks Ctrl-C and SIGTERM in this thread inside the context, and in processes it starts.

    Only the parent should be interrupted; each worker would print another traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch_parent() -> None:
    """Ends this worker when its parent has ended or was killed; otherwise it would hang."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
