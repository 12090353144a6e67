"""Terminal output of a run: one line per component; the libraries' output goes to a log file."""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from components import stop_signals
from pipeline.terminal import lines, write

COMPONENT_LOGGER = "outnumbered"

_RUNNING, _CACHED, _DONE, _FAILED = "running", "cached", "done", "failed"
_INTERRUPTED = "interrupted"
# With the pause of the thread that looks, less than ten seconds.
_SILENCE_SECONDS = 8.0
_LOOK_SECONDS = 1.0
_MARKS = {
    _RUNNING: ("…", "yellow"),
    _CACHED: ("=", "cyan"),
    _DONE: ("✓", "green"),
    _FAILED: ("✗", "red"),
    _INTERRUPTED: ("✗", "yellow"),
}


@contextlib.contextmanager
def captured_output(log: Path) -> Iterator[TextIO]:
    """Redirects standard output and error, including those of C++ code, to a log file.

    Args:
      log: the file to append to; its folder exists.

    Yields:
      A text stream to the original standard error, for messages to the user.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as sink, os.fdopen(os.dup(saved[1]), "w", buffering=1) as screen:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield screen
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            for descriptor in saved:
                os.close(descriptor)


@contextlib.contextmanager
def without_messages_of_libraries() -> Iterator[TextIO]:
    """Hides what is printed, such as what TensorFlow's C++ code says of this machine's processor.

    For commands without a log. Errors are exceptions, which are not hidden.

    Yields:
      See `captured_output`.
    """
    with TemporaryDirectory() as folder, captured_output(Path(folder, "log")) as screen:
        yield screen


class RunView:
    """Shows the state of each component of a run: live on a terminal, otherwise line by line.

    A component that says nothing for some seconds is shown with the age of its last message, so
    that an estimate of the time left can't pass for a new one.

    Attributes:
      failed: the component that ended the run; None: none.
    """

    def __init__(
        self,
        screen: TextIO,
        components: list[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Creates the view.

        Args:
          screen: the stream to write to.
          components: the names of the components, in the order in which they run.
          clock: returns seconds.
        """
        self._clock = clock
        self._said = self._shown = clock()  # the last message, and the last line
        self._ended = threading.Event()
        self._reminder = threading.Thread(target=self._remind_until_ended, daemon=True)
        self._lock = threading.RLock()
        self._console = Console(file=screen)
        self._states = dict.fromkeys(components, "")
        self._messages = dict.fromkeys(components, "")
        self._started: dict[str, float] = {}
        self._current: str | None = None
        self.failed: str | None = None
        self._live = (
            Live(get_renderable=self._table, console=self._console, refresh_per_second=4)
            if self._console.is_terminal
            else None
        )

    def __enter__(self) -> "RunView":
        if self._live:
            self._live.start()
        else:
            self._reminder.start()
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is not None:
            interrupted = isinstance(value, KeyboardInterrupt)
            self.failed = self._current
            self._finish(_INTERRUPTED if interrupted else _FAILED)
        if self._live:
            self._live.stop()
        else:
            self._ended.set()
            self._reminder.join()

    def started(self, component: str) -> None:
        """Shows that a component has started."""
        with self._lock:
            self._current = component
            self._started[component] = self._clock()
            self._states[component] = _RUNNING
            self._say(f"{component}: running")

    def cached(self) -> None:
        """Shows that the current component's outputs came from the cache."""
        if self._current:
            self._states[self._current] = _CACHED

    def finished(self) -> None:
        """Shows that the current component has succeeded."""
        was_cached = self._current is not None and self._states[self._current] == _CACHED
        self._finish(_CACHED if was_cached else _DONE)

    def message(self, text: str) -> None:
        """Shows a progress message of the current component."""
        with self._lock:
            if self._current:
                self._messages[self._current] = text
                self._say(f"{self._current}: {text}")

    def remind(self) -> None:
        """Writes a line if there was none for some seconds, with the age of the last message."""
        with self._lock:
            now = self._clock()
            if self._current and now - self._shown >= _SILENCE_SECONDS:
                self._shown = now
                write(self._console, f"{self._current}: {self._last_message(self._current)}")

    def _remind_until_ended(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self.remind()

    def _say(self, line: str) -> None:
        self._said = self._shown = self._clock()
        if not self._live:
            write(self._console, line)

    def _last_message(self, component: str) -> str:
        """Returns the last message of the component that is running, and its age if it is old."""
        now = self._clock()
        text = self._messages[component]
        if not text:
            return f"running for {_duration(now - self._started[component])}"
        age = now - self._said
        return text if age < _SILENCE_SECONDS else f"{text} ({_duration(age)} ago)"

    def _finish(self, state: str) -> None:
        with self._lock:
            name, self._current = self._current, None
            if name is None:
                return
            seconds = self._clock() - self._started[name]
            detail = "unchanged since an earlier run" if state == _CACHED else f"{seconds:.1f} s"
            self._states[name], self._messages[name] = state, detail
            self._say(f"{name}: {state}, {detail}")

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, state in self._states.items():
            mark, style = _MARKS.get(state, ("·", "dim"))
            text = self._last_message(name) if name == self._current else self._messages[name]
            message = lines(text)
            table.add_row(Text(mark, style=style), Text(name, style=style), message)
        return table


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class RunLogHandler(logging.Handler):
    """Updates a `RunView` from the log records of TFX and of the components."""

    def __init__(self, view: RunView):
        super().__init__(logging.INFO)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        """Handles progress messages of components, and the launcher's records of their states."""
        if record.name.startswith(COMPONENT_LOGGER):
            self._view.message(record.getMessage())
        elif record.msg == "Component %s is running.":
            # A library may have suppressed the signal's exception, as callbacks and destructors do.
            stop_signals.raise_received()
            component, *_ = record.args or ("",)
            self._view.started(str(component))
        elif record.msg == "A cached execution %d is used.":
            self._view.cached()
        elif record.msg == "Component %s is finished.":
            self._view.finished()


@contextlib.contextmanager
def followed(view: RunView) -> Iterator[None]:
    """Updates `view` from the logs of TFX and of the components inside the context."""
    handler = RunLogHandler(view)
    loggers = [logging.getLogger("absl"), logging.getLogger(COMPONENT_LOGGER)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
