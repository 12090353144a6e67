"""Starts the command line in processes that are forked from one with all imports done."""

import atexit
import contextlib
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

CLI = "pipeline.cli:main"
"""The entry point of the `outnumbered` command, as MODULE:FUNCTION."""

PROJECT = Path(__file__).parents[2]
"""The folder of the project."""

_PRELOADED = [
    *("tensorflow", "tensorflow_model_analysis", "tensorflow_data_validation"),
    *("tfx.orchestration.local.local_dag_runner", "pipeline.dag", "pipeline.study.dag"),
    *("pipeline.cli", "pipeline.local", "pipeline.preflight", "pipeline.predict"),
    *(
        f"components.{name}.executor"
        for name in (
            *("image_example_gen", "imbalance_sampler", "schema_gen", "example_validator"),
            *("feature_extractor", "trainer", "calibrator", "evaluator", "pusher", "reporter"),
            "study_reporter",
        )
    ),
]
_POLL_SECONDS = 0.005

Prepare = Callable[[], object]
"""Called in a process before its command; can be pickled."""


@dataclass(frozen=True)
class Outcome:
    """The end of a process: its exit code, negative for a signal, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything printed, standard error first."""
        return self.err + self.out


class Process:
    """A started command.

    Attributes:
      pid: its process id, which is also that of its session.
      folder: contains what it prints.
      temporary: its TMPDIR, which nothing else uses.
    """

    def __init__(self, process: "ForkServerProcess | subprocess.Popen[bytes]", folder: Path):
        assert process.pid is not None
        self.pid = process.pid
        self.folder = folder
        self.temporary = folder / "tmp"
        self._process = process

    @property
    def out(self) -> str:
        """What it has printed on standard output."""
        return (self.folder / "out").read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        """What it has printed on standard error."""
        return (self.folder / "err").read_text(encoding="utf-8", errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process alone; nothing happens if it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills the process alone; its own child processes are not signalled."""
        self.send(signal.SIGKILL)

    def poll(self) -> int | None:
        """Returns the exit code, or None while it runs."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> Outcome:
        """Waits for the end of the process.

        Args:
          timeout: in seconds; None waits as long as it takes.

        Raises:
          TimeoutError: the process is still running.
        """
        if isinstance(self._process, subprocess.Popen):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        else:
            connection.wait([self._process.sentinel], timeout)
            self._process.join(timeout and 1)
        code = self.poll()
        if code is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        return Outcome(code, self.out, self.err)

    def wait_for(self, *texts: str, timeout: float = 120) -> bool:
        """Waits until it has printed one of `texts` on standard error; False if it ends before.

        Raises:
          TimeoutError: neither happened in `timeout` seconds.
        """
        return self._wait_until(lambda: self._has_printed(texts), str(texts), timeout)

    def wait_for_file(self, folder: Path, pattern: str, timeout: float = 120) -> bool:
        """Waits until there is a file of this pattern in a folder; False if it ends before.

        Raises:
          TimeoutError: neither happened in `timeout` seconds.
        """
        return self._wait_until(lambda: any(folder.glob(pattern)), pattern, timeout)

    def _wait_until(self, condition: Callable[[], bool], name: str, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while not (ended := self.poll() is not None) and not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"process {self.pid} still runs, without {name}")
            time.sleep(_POLL_SECONDS)
        return not ended or condition()

    def _has_printed(self, texts: Sequence[str]) -> bool:
        printed = self.err
        return any(text in printed for text in texts)

    def running(self) -> list[int]:
        """Returns the ids of the processes of its session that are still running."""
        return [pid for pid, session in _sessions() if session == self.pid]

    def left_running(self, within: float = 5) -> list[int]:
        """Returns the processes of its session that do not end by themselves, and kills them.

        Args:
          within: how long they may take, in seconds.
        """
        end = time.monotonic() + within
        while (found := self.running()) and time.monotonic() < end:
            time.sleep(0.02)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found


class Runner:
    """Starts the command line without the 10 to 30 s that its imports take.

    A context manager; on leaving it kills the processes that still run.

    Args:
      folder: for what the processes print, and for their temporary files; created if it does
        not exist.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._processes: list[Process] = []
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")

    def __enter__(self) -> "Runner":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._context.set_forkserver_preload(_PRELOADED)
        before = dict(os.environ)
        os.environ["PYTHONPATH"] = str(PROJECT)  # also where the working directory is another
        try:
            forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ.update(before)
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.left_running(within=0)

    def start(
        self,
        argv: Sequence[object],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        prepare: Prepare | None = None,
        command: str = CLI,
        preloaded: bool = True,
    ) -> Process:
        """Starts a command.

        Args:
          argv: its arguments, without the name of the command.
          env: environment variables to set, or, where None, to remove; TMPDIR is a new folder
            unless it is given.
          cwd: its working directory; default: a new folder.
          prepare: called in the process before the command; must be picklable.
          command: the function to call, which reads `sys.argv`, as MODULE:FUNCTION.
          preloaded: False starts a new Python, for what is read during imports; the module of
            `command` must then be a program, and `prepare` is not called.
        """
        folder = Path(tempfile.mkdtemp(prefix=f"{len(self._processes):03}-", dir=self.folder))
        (folder / "tmp").mkdir()
        start = _Start(
            tuple(str(word) for word in argv), _environment(folder, env or {}), folder, cwd, command
        )
        started = self._fork(start, prepare) if preloaded else _spawn(start)
        process = Process(started, folder)
        self._processes.append(process)
        return process

    def run(
        self,
        argv: Sequence[object],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        prepare: Prepare | None = None,
        timeout: float | None = 600,
    ) -> Outcome:
        """Starts a command, see `start`, and waits for its end."""
        return self.start(argv, env=env, cwd=cwd, prepare=prepare).wait(timeout)

    def _fork(self, start: "_Start", prepare: Prepare | None) -> ForkServerProcess:
        process = self._context.Process(target=_child, args=(start, prepare))
        process.start()
        return process


@dataclass(frozen=True)
class _Start:
    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    cwd: Path | None
    command: str

    def streams(self) -> Iterator[tuple[int, int]]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        for number, name in enumerate(("out", "err"), start=1):
            yield number, os.open(self.folder / name, flags)


def _environment(folder: Path, changes: Mapping[str, str | None]) -> dict[str, str]:
    for stream in ("out", "err"):
        (folder / stream).touch()
    own = {"NO_COLOR": "1", "PYTHONPATH": str(PROJECT), "TMPDIR": str(folder / "tmp")}
    merged: dict[str, str | None] = {**os.environ, **own, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _child(start: _Start, prepare: Prepare | None) -> None:
    os.setsid()
    for number, handle in start.streams():
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(start.environment)
    tempfile.tempdir = None  # read again from TMPDIR
    os.chdir(start.cwd or start.folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores it
    if prepare is not None:
        prepare()
    module, _, function = start.command.partition(":")
    sys.argv = [module, *start.argv]
    try:
        getattr(importlib.import_module(module), function)()
    finally:
        atexit._run_exitfuncs()  # as the interpreter does, and a forked process does not


def _spawn(start: _Start) -> "subprocess.Popen[bytes]":
    (_, out), (_, err) = start.streams()
    module = start.command.partition(":")[0]
    try:
        return subprocess.Popen(
            [sys.executable, "-m", module, *start.argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=start.environment,
            cwd=start.cwd or start.folder,
            start_new_session=True,
        )
    finally:
        os.close(out)
        os.close(err)


def _sessions() -> Iterator[tuple[int, int]]:
    """The id and session of each process that has not ended."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            state, _, _, session, *_ = status.read_text().rpartition(")")[2].split()
            if state != "Z":
                yield int(status.parent.name), int(session)
