"""Keeps the cases that break a target: the smallest one per place, and how to reproduce it."""

import contextlib
import hashlib
import sys
import traceback
from pathlib import Path

from benchmarks.fuzz.bounds import OutOfTimeError, bounded_time
from benchmarks.fuzz.targets import TARGETS, BrokenPromiseError, Target

FOLDER = "crashes"
_ROOT = str(Path(__file__).parents[2])
_PARTS = ("components", "pipeline")


class Recorder:
    """Runs a target on cases and keeps those that break it.

    Attributes:
      name: name of the target.
      output: the folder of the fuzzer's output.
      cases: number of cases that were run.
    """

    def __init__(self, name: str, target: Target, output: Path):
        self.name = name
        self.output = output
        self.cases = 0
        self._target = target
        self._running = in_progress(output, name)
        self._running.parent.mkdir(parents=True, exist_ok=True)
        self._sizes: dict[str, int] = {}

    def load(self) -> None:
        """Imports what the target needs; see `load`."""
        load(self._target)

    def run(self, data: bytes) -> None:
        """Runs a case. If it ends the process, `in_progress` still holds it."""
        self.cases += 1
        self._running.write_bytes(data)
        if (error := failure(self._target, data)) is not None:
            self._keep(data, error)

    def finish(self) -> None:
        """Removes the file of the case in progress."""
        self._running.unlink(missing_ok=True)

    def _keep(self, data: bytes, error: BaseException) -> None:
        place = _place(error)
        if len(data) < self._sizes.get(place, len(data) + 1):
            self._sizes[place] = len(data)
            keep(self.output, self.name, place, data, _described(error))


def load(target: Target) -> None:
    """Imports what a target needs, with an empty case that has no limit of time.

    Within a case's limit, slow imports would count as a failure of the target.
    """
    with contextlib.suppress(Exception):  # seen again if such a case is run with the limit
        target.check(b"")


def failure(target: Target, data: bytes) -> BaseException | None:
    """Runs a case with a limit of time; returns the exception that it raised, or None."""
    try:
        with bounded_time():
            target.check(data)
    except (Exception, OutOfTimeError) as error:  # any other error is a finding
        return error
    return None


def in_progress(output: Path, name: str) -> Path:
    """Returns the path of the file with the case in progress."""
    return output / FOLDER / f".{name}.running"


def keep(output: Path, name: str, place: str, data: bytes, what: str) -> Path:
    """Writes a case, and next to it what happened and the command that reproduces it.

    Args:
      output: the folder of the fuzzer's output.
      name: name of the target.
      place: where it failed; one case is kept per place.
      data: the case.
      what: what happened.

    Returns:
      The path of the case's file.
    """
    digest = hashlib.sha256(place.encode()).hexdigest()[:8]
    path = output / FOLDER / f"{name}-{digest}{TARGETS[name].suffix}"
    path.write_bytes(data)
    command = f"{sys.executable} -m benchmarks.fuzz --reproduce {name} {path}"
    path.with_name(f"{path.name}.error").write_text(
        f"{command}\n\n{what}\n", encoding="utf-8", errors="backslashreplace"
    )
    return path


def kept(output: Path) -> list[Path]:
    """Returns the paths of the cases that were kept, sorted."""
    return sorted(path for path in (output / FOLDER).glob("*-*") if path.suffix != ".error")


def _place(error: BaseException) -> str:
    """Returns the class of an error and the project's innermost function in its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f"{frame.filename}:{frame.name}"
        for frame in frames
        if frame.filename.startswith(tuple(f"{_ROOT}/{part}/" for part in _PARTS))
    ]
    what = str(error)[:20] if isinstance(error, BrokenPromiseError) else ""
    # The place where a case ran out of time is random.
    at = "" if isinstance(error, OutOfTimeError) or not ours else ours[-1]
    return f"{type(error).__name__} {what} {at}"


def _described(error: BaseException) -> str:
    lines = traceback.format_exception(error, limit=-20)
    return "".join(line[:2000] for line in lines)[-20_000:]
