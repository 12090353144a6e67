"""Reads images so that one that crashes its decoder, or takes too much memory or time, is refused.

Small JPEGs and PNGs, whose decoders are the most widely used, are read in this process. Any other
image is read in a child process, which has limits of memory and CPU time and only a few of this
process's environment variables. A child process reads many images and ends with its parent.
"""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from components.images import png, reader
from components.images.rules import DEFAULT_MAX_PIXELS

# Reading the headers alone of a larger file may take long.
_SMALL_BYTES = 4 << 20
_HARMLESS = (b"\xff\xd8\xff", png.SIGNATURE)

# An image whose child process dies is read again: another process may have used up the memory.
_TRIES = 2
_FRAME = struct.Struct(">QQ")
_COMMAND = (sys.executable, "-m", "components.images.child")
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")

_idle: list["_Child"] = []
_lock = threading.Lock()
# A forked process must not use the child processes of its parent.
os.register_at_fork(after_in_child=_idle.clear)


def read_image(
    data: bytes,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_side: int = 0,
    in_child: bool = False,
) -> reader.ReadImage:
    """Returns what `reader.read_image` returns; safe for use by many threads.

    Args:
      data: see `reader.read_image`, as `max_pixels` and `max_side`.
      in_child: whether a child process also reads small JPEGs and PNGs, so that threads decode at
        the same time.

    Raises:
      RefusedImageError: see `reader.read_image`. Also if reading takes too much memory
        (`too_large`) or CPU time (`too_slow`), or crashes the child process (`undecodable`).
    """
    if not in_child and len(data) <= _SMALL_BYTES and data.startswith(_HARMLESS):
        return reader.read_image(data, max_pixels=max_pixels, max_side=max_side)
    reader.check_bytes(len(data), max_pixels)
    for attempt in range(1, _TRIES + 1):
        child = _running_child()
        try:
            image = child.read(data, max_pixels, max_side)
        except _ChildDiedError as error:
            if attempt == _TRIES or error.is_too_slow:
                raise error.refusal() from None
            continue
        except reader.RefusedImageError:
            _keep(child)
            raise
        _keep(child)
        return image
    raise AssertionError  # the last attempt returns or raises


def end_children() -> None:
    """Ends the child processes of this process that are idle; more are started when needed."""
    with _lock:
        ended = [*_idle]
        _idle.clear()
    for child in ended:
        child.end()


def _running_child() -> "_Child":
    """Returns an idle child process that is still running, or a new one."""
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.is_running():
                return child
    return _Child()


def _keep(child: "_Child") -> None:
    with _lock:
        _idle.append(child)


class _ChildDiedError(Exception):
    """A child process ended while it was reading an image."""

    def __init__(self, code: int):
        super().__init__(code)
        self._code = code
        self.is_too_slow = code == -signal.SIGXCPU

    def refusal(self) -> reader.RefusedImageError:
        if self.is_too_slow:
            detail = "decoding it takes too much CPU time; save it as a baseline JPEG or PNG"
            return reader.RefusedImageError(reader.TOO_SLOW, detail)
        name = signal.Signals(-self._code).name if self._code < 0 else f"exit code {self._code}"
        if self._code == -signal.SIGKILL:
            detail = f"the process that decoded it was killed ({name}), probably for lack of memory"
            return reader.RefusedImageError(reader.TOO_LARGE, detail)
        detail = f"its decoder crashed ({name}); convert it to JPEG or PNG"
        return reader.RefusedImageError(reader.UNDECODABLE, detail)


class _Child:
    """A process that reads one image at a time."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Libraries reserve memory per core, which would count towards the limit.
            env=kept | {"PYTHONPATH": root, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
            start_new_session=True,  # Ctrl-C ends the parent, and with it the child process
        )
        if not self._output.read(1):
            raise RuntimeError(
                f"the process that reads images did not start; its exit code is "
                f"{self._process.wait()}"
            )

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
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._input.close()
        self._output.close()
        self._process.wait()

    def read(self, data: bytes, max_pixels: int, max_side: int) -> reader.ReadImage:
        limits = f"[{max_pixels},{max_side}]".encode()
        try:
            write_frame(self._input, limits, data)
            head, pixels = read_frame(self._output)
        except (EOFError, BrokenPipeError):
            self._output.close()
            raise _ChildDiedError(self._process.wait()) from None
        answer = json.loads(head)
        if "reason" in answer:
            raise reader.RefusedImageError(answer["reason"], answer["detail"])
        return reader.ReadImage(data if answer.pop("is_unchanged") else pixels, **answer)


def write_frame(stream: IO[bytes], head: bytes, body: bytes) -> None:
    """Writes two byte strings, preceded by their lengths."""
    stream.write(_FRAME.pack(len(head), len(body)))
    stream.write(head)
    stream.write(body)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[bytes, bytes]:
    """Returns what `write_frame` wrote.

    Raises:
      EOFError: the stream ended.
    """
    sizes = _FRAME.unpack(_exactly(stream, _FRAME.size))
    head, body = (_exactly(stream, size) for size in sizes)
    return head, body


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
