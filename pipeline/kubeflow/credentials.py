"""The headers with which the client signs in: from environment variables and commands.

Their values are never part of an error message.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence

from pipeline.kubeflow.errors import KubeflowError, UsageError
from pipeline.kubeflow.settings import Auth, Header

# Servers refuse longer headers.
_LONGEST_OUTPUT = 64 * 1024


class Credentials:
    """The values of the headers in `kubeflow.auth.headers`.

    Commands run when their value is first needed, and again after `renew`.
    """

    def __init__(self, auth: Auth, variables: Mapping[str, str] = os.environ) -> None:
        """Reads the variables; runs no command.

        Args:
          auth: the settings.
          variables: environment variables.

        Raises:
          UsageError: a variable is not set, or its value can't be sent.
        """
        self._commands = {name: source for name, source in auth.headers.items() if source.command}
        self._values = {
            name: source.prefix + _of_variable(name, source.env, variables)
            for name, source in auth.headers.items()
            if source.env is not None
        }

    def headers(self) -> dict[str, str]:
        """Returns each header's value.

        Raises:
          KubeflowError: a command failed, took too long, or printed no value; UsageError if it
            can't be started or its value can't be sent.
        """
        for name, source in self._commands.items():
            if name not in self._values:
                self._values[name] = source.prefix + _of_command(name, source)
        return dict(self._values)

    def renew(self) -> bool:
        """Forgets what commands have printed; returns whether there is a command to run again."""
        for name in self._commands:
            self._values.pop(name, None)
        return bool(self._commands)

    def __repr__(self) -> str:
        """Returns the names of the headers."""
        return f"{type(self).__name__}({', '.join((*self._commands, *self._values))})"


def check_value(value: str, what: str) -> str:
    """Returns the value of a header, which must be one line of printable ASCII.

    Args:
      value: the value.
      what: its name and source, for the message.

    Raises:
      UsageError: it can't be sent; the message does not contain it.
    """
    lines = len(value.splitlines())
    if lines > 1:
        raise UsageError(f"{what} must be one line. Received: {lines} lines, not shown")
    if odd := re.search(r"[^ -~]", value):
        raise UsageError(
            f"{what} must be printable ASCII text. Received: U+{ord(odd[0]):04X} at position "
            f"{odd.start() + 1} of {len(value)} characters, not shown"
        )
    return value


def _of_variable(name: str, variable: str, variables: Mapping[str, str]) -> str:
    value = variables.get(variable, "").strip()
    if not value:
        raise UsageError(
            f"kubeflow.auth.headers.{name} is to be read from the environment variable {variable}, "
            "which is not set or empty; set it, or name another variable"
        )
    return check_value(value, f"the environment variable {variable}, for the header {name},")


def _of_command(name: str, source: Header) -> str:
    command = source.command or []
    what = f"the command {command[0]!r} of kubeflow.auth.headers.{name}"
    code, output = _run(command, source.timeout_seconds, what)
    if code:
        ended = f"exit code {code}" if code > 0 else f"was ended by signal {-code}"
        raise KubeflowError(f"{what} failed ({ended}); what it says is above. Run it by hand")
    value = output.decode("utf-8", errors="replace").strip()
    if not value:
        raise KubeflowError(
            f"{what} printed nothing on standard output; it must print the header's value"
        )
    return check_value(value, f"what {what} prints")


def _run(command: Sequence[str], seconds: float, what: str) -> tuple[int, bytes]:
    """Returns a command's exit code and standard output; its standard error stays as it is."""
    timed_out = threading.Event()
    with _started(command, what) as process:

        def end() -> None:
            timed_out.set()
            _kill(process)

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            assert process.stdout
            output = process.stdout.read(_LONGEST_OUTPUT + 1)
            if len(output) > _LONGEST_OUTPUT:
                raise KubeflowError(
                    f"{what} printed more than {_LONGEST_OUTPUT:,} bytes; it must print the value "
                    "of a header"
                )
            code = process.wait()
        finally:
            timer.cancel()
    if timed_out.is_set():
        raise KubeflowError(
            f"{what} did not end within {seconds:g} s; it can't ask for input. Run it by hand, or "
            "raise timeout_seconds"
        )
    return code, output


@contextlib.contextmanager
def _started(command: Sequence[str], what: str) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a command as a group of processes, which ends if the block fails."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{what} can't be started ({reason}); check its path") from error
    with process:
        try:
            yield process
        except BaseException:
            _kill(process)
            raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
