"""Bounds of time and memory for a single case of a fuzzer."""

import contextlib
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

SECONDS = 5
"""CPU time of a case."""
BYTES = 512 << 20
"""Memory that a case may use in addition to what the process already uses."""


class OutOfTimeError(BaseException):
    """A case took too long. Code that catches `Exception` does not stop it."""


def bound_memory() -> None:
    """Limits the memory of this process: an allocation beyond it raises `MemoryError`."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def bounded_time(seconds: float = SECONDS) -> Iterator[None]:
    """Limits the CPU time of the block.

    An exception ends Python code. If C code never returns to Python, SIGXCPU ends the process a
    little later.

    Args:
      seconds: CPU time.

    Raises:
      OutOfTimeError: the block took longer.
    """
    before = signal.signal(signal.SIGPROF, _raise_out_of_time)
    used = resource.getrusage(resource.RUSAGE_SELF)
    last = int(used.ru_utime + used.ru_stime + 2 * seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (last, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY,) * 2)
        signal.signal(signal.SIGPROF, before)


def _raise_out_of_time(*_: object) -> None:
    raise OutOfTimeError("the case took too long")
