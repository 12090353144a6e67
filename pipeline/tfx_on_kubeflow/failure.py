"""A step's failure in one line, which Kubernetes shows as the pod's termination message.

Imports the standard library only.
"""

import contextlib
import os
import re
from collections.abc import Collection

PATH_VARIABLE = "OUTNUMBERED_TERMINATION_LOG"
"""Environment variable: the file of the termination message; default: /dev/termination-log."""

MAX_BYTES = 4096
"""Bytes of a termination message that the kubelet reads."""

_DEFAULT_PATH = "/dev/termination-log"
_ELLIPSIS = " … "
_READ_THE_LOG = "read the traceback in the step's log"
# The line of a traceback that ends it. Beam passes on errors of its workers as such text.
_ERROR_LINE = re.compile(r"^(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)): ", re.MULTILINE)
_WHERE = re.compile(r"\s*\[while running '[^']*'\]")


def describe(component: str, error: BaseException, explained: Collection[str] = ()) -> str:
    """Returns one line: which component failed, what was wrong and what to do.

    Args:
      component: the name of the step.
      error: what it raised.
      explained: packages, such as `components`, whose own errors say what to do. Other errors are
        given with their type, and a reference to the log.
    """
    error_type, message = _original(error)
    if error_type.partition(".")[0] in explained and message:
        words = message
    else:
        name = error_type.removeprefix("builtins.")
        words = f"{name}: {message}" if message else name
        words = f"{_cut(_one_line(words), MAX_BYTES // 2)}; {_READ_THE_LOG}"
    return f"{component} failed: {_one_line(words)}"


def write(message: str) -> None:
    """Writes a termination message of at most `MAX_BYTES`; the middle of a longer one is left out.

    Nothing is written outside of Kubernetes, which makes the file. An unwritable file is ignored,
    so that the error itself is not lost.

    Args:
      message: any text.
    """
    content = _cut(message, MAX_BYTES).encode(errors="replace")
    with contextlib.suppress(OSError):
        # Without O_CREAT.
        file = os.open(os.environ.get(PATH_VARIABLE, _DEFAULT_PATH), os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(file, content)
        finally:
            os.close(file)


def _original(error: BaseException) -> tuple[str, str]:
    """The type, with its module, and the message, without what Beam adds."""
    text = _WHERE.sub("", str(error)).strip()
    lines = list(_ERROR_LINE.finditer(text))
    if lines:
        return lines[-1]["type"], text[lines[-1].end() :].strip()
    return f"{type(error).__module__}.{type(error).__qualname__}", text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, size: int) -> str:
    content = text.encode(errors="replace")
    if len(content) <= size:
        return text
    kept = size - len(_ELLIPSIS.encode())
    start, end = content[: kept - kept // 2], content[-(kept // 2) :]
    return f"{start.decode(errors='ignore')}{_ELLIPSIS}{end.decode(errors='ignore')}"
