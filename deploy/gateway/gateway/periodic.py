"""Repeats an action for as long as the gateway runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

_log = logging.getLogger("gateway")


async def repeat(
    action: Callable[[], Awaitable[None]], seconds: float, on_error: Callable[[], None]
) -> None:
    """Repeats an action, with a pause of `seconds` seconds, until it is cancelled.

    Args:
      action: the action.
      seconds: the pause.
      on_error: called after an error of the action, which is logged.
    """
    while True:
        try:
            await action()
        except Exception:  # any error: the next attempt may succeed
            _log.exception("%s failed", action.__qualname__)
            on_error()
        await asyncio.sleep(seconds)
