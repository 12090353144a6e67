"""Child processes that answer requests within limits, one at a time, and end with their parent.

A child process has only a few of its parent's environment variables. What its libraries print is
not part of an answer.
"""

import contextlib
import fcntl
import itertools
import os
import resource
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

_FRAME = struct.Struct(">QQ")
_ROOT = str(Path(__file__).resolve().parents[2])
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")
# Libraries reserve memory per core, which would count towards the limit.
_VARIABLES = {"PYTHONPATH": _ROOT, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
# What waits for the child process while it works, or else it would wait for its parent then.
_PIPE_BYTES = 1 << 20


class Message(NamedTuple):
    """A request or an answer.

    Attributes:
      head: JSON.
      body: any bytes.
    """

    head: bytes
    body: bytes = b""


class ChildDiedError(Exception):
    """A child process ended before it answered.

    Attributes:
      code: its exit code; the negative number of the signal that ended it.
    """

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


class Children:
    """Child processes of one kind, which are started when needed and used again."""

    def __init__(self, command: Sequence[str]):
        """Starts none yet.

        Args:
          command: starts a process that calls `serve`.
        """
        self._command = command
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._lock = threading.Lock()
        # A forked process must not use the child processes of its parent.
        os.register_at_fork(after_in_child=self._forget)

    def ask(self, request: Message, following: Iterable[Message] = ()) -> Message:
        """Returns the answer of a child process; safe for use by many threads.

        Args:
          request: what is asked.
          following: more of the request, of which only little is in memory at a time. If it raises
            an error, the child process is ended.

        Raises:
          ChildDiedError: it ended before it answered.
          RuntimeError: it did not start.
        """
        with self._one() as child:
            return child.ask(request, following)

    def start(self, count: int) -> None:
        """Starts child processes before they are needed, without waiting for them.

        Args:
          count: the number of idle ones that there are then, at least.
        """
        with self._lock:
            missing = count - len(self._idle)
        for _ in range(missing):
            self._keep(_Child(self._command))

    def end(self) -> None:
        """Ends the child processes by a signal, also those that are in use."""
        with self._lock:
            idle, busy = [*self._idle], [*self._busy]
            self._idle.clear()
        for child in (*idle, *busy):
            child.kill()
        for child in idle:
            child.end()

    @contextlib.contextmanager
    def _one(self) -> Iterator["_Child"]:
        """Yields an idle child process, or a new one, and keeps it if it has answered."""
        child = self._taken() or _Child(self._command)
        with self._lock:
            self._busy.add(child)
        try:
            yield child
        except BaseException:
            child.end()
            raise
        finally:
            with self._lock:
                self._busy.discard(child)
        self._keep(child)

    def _taken(self) -> "_Child | None":
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.is_running():
                    return child
        return None

    def _keep(self, child: "_Child") -> None:
        with self._lock:
            self._idle.append(child)

    def _forget(self) -> None:
        self._lock = threading.Lock()  # another thread may have held it
        self._idle.clear()
        self._busy.clear()


class _Child:
    """A process that answers one request at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=kept | _VARIABLES,
            start_new_session=True,  # Ctrl-C ends the parent, and with it the child process
        )
        self._is_ready = False
        with contextlib.suppress(OSError):  # the system allows a user so many bytes
            fcntl.fcntl(self._input, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def is_running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        # It has nothing to lose, and would take longer to end by itself.
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._input.close()
        self._output.close()
        self._process.wait()

    def kill(self) -> None:
        self._process.kill()

    def ask(self, request: Message, following: Iterable[Message]) -> Message:
        if not self._is_ready and not self._output.read(1):
            raise RuntimeError(
                "the process that reads images did not start; its exit code is "
                f"{self._process.wait()}"
            )
        self._is_ready = True
        for message in itertools.chain((request,), following):
            with self._running():
                _write(self._input, message)
        with self._running():
            return _read(self._output)
        raise AssertionError  # the answer is returned, or an error raised

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, BrokenPipeError):
            raise ChildDiedError(self._process.wait()) from None


def serve(answer: Callable[[Message, Iterator[Message]], Message]) -> None:
    """Answers requests in the child process until its parent ends.

    Args:
      answer: returns the answer to a request, after it has taken what follows the request from an
        iterator of all messages to come.
    """
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # Output of libraries must not get into the answers.
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write(b"\n")
    answers.flush()
    messages = iter(lambda: _read(requests), None)
    with contextlib.suppress(EOFError):
        while True:
            _write(answers, answer(next(messages), messages))


def command(module: str) -> tuple[str, ...]:
    """Returns the command that runs a module of this project."""
    return (sys.executable, "-m", module)


def _write(stream: IO[bytes], message: Message) -> None:
    stream.write(_FRAME.pack(len(message.head), len(message.body)))
    stream.write(message.head)
    stream.write(message.body)
    stream.flush()


def _read(stream: IO[bytes]) -> Message:
    """Returns what `_write` wrote.

    Raises:
      EOFError: the stream ended.
    """
    sizes = _FRAME.unpack(_exactly(stream, _FRAME.size))
    head, body = (_exactly(stream, size) for size in sizes)
    return Message(head, body)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
