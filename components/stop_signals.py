"""Handles Ctrl-C and SIGTERM: ends a process cleanly, within Kubernetes' grace period.

The first signal raises an exception in the main thread, so that files in progress are completed or
removed. A second signal ends the process at once, as does handling that takes too long.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

GRACE_SECONDS = 20.0
"""Time for a process to end cleanly; Kubernetes kills it after 30 s by default."""

# GNU timeout and some shells send a signal to a process and then to its group, so twice.
_SAME_SIGNAL_SECONDS = 0.5
_LAST_WORDS_SECONDS = 2.0


class TerminatedError(KeyboardInterrupt):
    """SIGTERM was received. It is handled like Ctrl-C, except for its exit code."""


# They have messages, since Beam replaces an exception without one by a RuntimeError.
_ERRORS = {
    signal.SIGINT: KeyboardInterrupt("Ctrl-C was pressed"),
    signal.SIGTERM: TerminatedError("SIGTERM was received"),
}


class _Received:
    """The state of this process: the first signal, and whether the main thread defers it."""

    def __init__(self) -> None:
        self.error: KeyboardInterrupt | None = None
        self.deferring = 0

    def handle(self, number: int, frame: object) -> None:
        if self.error is None:
            self.error = _ERRORS[signal.Signals(number)]
            if not self.deferring:
                raise self.error

    def raise_error(self) -> None:
        if self.error is not None:
            raise self.error


_received = _Received()


def install(last_words: Callable[[KeyboardInterrupt], object]) -> None:
    """Handles Ctrl-C and SIGTERM from now on; a signal that the process ignores stays ignored.

    Args:
      last_words: prints a message if the process does not end in time; called in another thread,
        with the standard output and error at the time of this call.
    """
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in _ERRORS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _received.handle)
    os.register_at_fork(after_in_child=_restore_defaults)
    streams = os.dup(1), os.dup(2)
    watch = threading.Thread(target=_watch, args=(readable, streams, last_words), daemon=True)
    watch.start()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defers signals until a short block of the main thread, such as saving a checkpoint, ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.deferring += 1
    try:
        yield
    finally:
        _received.deferring -= 1
        if not _received.deferring:
            _received.raise_error()


def raise_received() -> None:
    """Raises the exception of a received signal again, in case a library has replaced it.

    Raises:
      KeyboardInterrupt: Ctrl-C was pressed or, as TerminatedError, SIGTERM was received.
    """
    _received.raise_error()


def exit_code(error: KeyboardInterrupt) -> int:
    """Returns the exit code, by the convention of shells: 130 for Ctrl-C, 143 for SIGTERM."""
    terminated = isinstance(error, TerminatedError)
    return 128 + (signal.SIGTERM if terminated else signal.SIGINT)


def end(code: int) -> NoReturn:
    """Ends this process and its child processes at once, without waiting for threads."""
    for child in _descendants(os.getpid()):
        with contextlib.suppress(OSError):  # it has ended by itself
            os.kill(child, signal.SIGKILL)
    os._exit(code)


def _watch(
    pipe: int, streams: tuple[int, int], last_words: Callable[[KeyboardInterrupt], object]
) -> None:
    first = _next_signal(pipe)
    time.sleep(_SAME_SIGNAL_SECONDS)
    while _arrives(pipe, within=0):
        _next_signal(pipe)
    if not _arrives(pipe, within=GRACE_SECONDS):
        # In case the main thread holds a lock of the streams.
        hurry = threading.Timer(_LAST_WORDS_SECONDS, end, [exit_code(first)])
        hurry.daemon = True
        hurry.start()
        for stream, original in enumerate(streams, start=1):
            os.dup2(original, stream)
        with contextlib.suppress(Exception, SystemExit):  # the process ends in any case
            last_words(first)
    end(exit_code(first))


def _arrives(pipe: int, *, within: float) -> bool:
    return bool(select.select([pipe], [], [], within)[0])


def _next_signal(pipe: int) -> KeyboardInterrupt:
    while True:
        # Signals that others handle are written to the pipe too.
        error = _ERRORS.get(signal.Signals(os.read(pipe, 1)[0]))
        if error is not None:
            return error


def _restore_defaults() -> None:
    """Restores the default handlers in a forked process, which would use its parent's pipe."""
    signal.set_wakeup_fd(-1)
    for number in _ERRORS:
        if signal.getsignal(number) == _received.handle:
            signal.signal(number, signal.SIG_DFL)


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the task has ended
            for child in map(int, task.read_text().split()):
                yield from _descendants(child)
                yield child
