"""Ends a process just before one of its operations on files: a write, a rename, a new folder.

Python announces each to its audit hooks, https://docs.python.org/3/library/audit_events.html.
"""

import os
import re
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.faults.runner import Prepare

_CHANGES = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink")
_WRITING = os.O_WRONLY | os.O_RDWR


def recording(record: Path, output: Path) -> Prepare:
    """Returns what makes a process record its operations below a folder in a file."""
    return partial(_record, str(record), str(output))


def recorded(record: Path, place: str) -> int:
    """Returns the number of recorded operations at a place, a pattern of paths in the folder."""
    lines = record.read_text(encoding="utf-8").splitlines()
    return sum(re.fullmatch(place, line) is not None for line in lines)


def ending(output: Path, place: str, number: int, how: signal.Signals) -> Prepare:
    """Returns what makes a process send itself a signal just before an operation.

    Args:
      output: folder below which operations are counted.
      place: pattern of the paths in it that count.
      number: of the operation, from 1.
      how: the signal.
    """
    return partial(_end, str(output), place, number, how)


def _record(record: str, output: str) -> None:
    handle = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        for path in _changed(event, arguments, output):
            os.write(handle, f"{path}\n".encode())
            return

    sys.addaudithook(hook)


def _end(output: str, place: str, number: int, how: signal.Signals) -> None:
    pattern, count = re.compile(place), 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if any(pattern.fullmatch(path) for path in _changed(event, arguments, output)):
            count += 1
            if count == number:
                os.kill(os.getpid(), how)

    sys.addaudithook(hook)


def _changed(event: str, arguments: tuple[object, ...], output: str) -> Iterator[str]:
    """Yields the path that an operation changes, relative to the folder, if it is below it."""
    if event == "open":
        path, _, flags = arguments
        if not (isinstance(flags, int) and flags & _WRITING):
            return
    elif event in _CHANGES:
        path = arguments[1 if event in ("os.link", "os.rename", "os.symlink") else 0]
    else:
        return
    if isinstance(path, str | bytes | os.PathLike):
        text = os.fsdecode(path)
        if text.startswith(f"{output}/"):
            yield text.removeprefix(f"{output}/")
