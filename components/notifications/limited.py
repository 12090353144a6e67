"""Calls that may take long, such as a look-up of a name, which has no time limit of its own."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def limited(call: Callable[[], Result], seconds: float) -> Result:
    """Returns what a call returns, if it does within a time; otherwise it goes on unheeded.

    Args:
      call: made in another thread, which does not keep the process from ending.
      seconds: the limit.

    Raises:
      TimeoutError: it has not returned.
      Exception: its own error.
    """
    ended: queue.SimpleQueue[tuple[Result | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put((call(), None))
        except Exception as error:  # any error is raised in the waiting thread
            ended.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = ended.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"not done within {seconds:g} seconds") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
