"""What goes wrong between this process and an engine of Beam, told in one message each.

Beam waits five minutes for a job server that is not there, and then raises an error without a
message; that of a connection that was lost names neither the server nor the option.
"""

import contextlib
import re
import shutil
import socket
from collections.abc import Iterator, Sequence

from pipeline import beam_options

_CONNECT_SECONDS = 10
_POOL = "environment_config"
_NO_CONNECTION = re.compile(r"\bUNAVAILABLE\b|connection refused|failed to connect", re.IGNORECASE)
_SILENT = re.compile(r"Pipeline failed\.|Pipeline \S+ failed in state \w+: (unknown error)?\s*")
_TRACEBACK = "Traceback (most recent call last)"
_DID_NOT_START = "Service failed to start up"


class EngineError(RuntimeError):
    """An engine can't be used; the message says which, why, and what to do."""


def check(options: Sequence[str]) -> None:
    """Checks that this machine has what starts jobs, before one is started.

    Args:
      options: of Beam, with `--runner`.

    Raises:
      EngineError: Java is not there, or an address can't be reached.
    """
    launcher = beam_options.java_launcher(options)
    if launcher and not shutil.which(launcher):
        raise EngineError(
            f"{_runner(options)} starts Beam's job server with Java, which is not installed: "
            f"{launcher!r} was not found. Install Java 11 or later, name the program with "
            "--job_server_java_launcher, or name a job server that runs with --job_endpoint"
        )
    for name, address in beam_options.endpoints(options).items():
        if problem := _unreachable(address):
            raise EngineError(
                f"beam.options: --{name} can't be reached from this machine: {problem}; start what "
                f"should listen there, or correct the address. Received: {address!r}"
            )


def _unreachable(address: str) -> str:
    """Returns why no connection can be made; empty: one can."""
    host, _, port = address.rstrip("/").rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


@contextlib.contextmanager
def reported(options: Sequence[str]) -> Iterator[None]:
    """Raises an EngineError for an error of the connection with an engine in the block.

    Others, such as that of a worker, which says why a job failed, are not changed.

    Args:
      options: of Beam, with `--runner`.
    """
    try:
        yield
    except Exception as error:
        if message := described(error, options):
            raise EngineError(message) from error
        raise


def described(error: BaseException, options: Sequence[str]) -> str:
    """Returns what an error of the connection with an engine means; empty: it is another one."""
    given = beam_options.parsed(options)
    at = given.get("job_endpoint")
    server = f"Beam's job server{f' at {at} (--job_endpoint)' if at else ''}"
    if _is_of_grpc(error, "FutureTimeoutError"):
        return f"{server} did not answer; start it, or correct the address in beam.options"
    if _is_of_grpc(error, "RpcError"):
        code, details = error.code().name, error.details()  # type: ignore[attr-defined]
        return (
            f"the connection with {server} failed: {code}, {details or 'without details'}. Its log "
            f"says why{_pool_hint(given, code)}. What is finished is kept: repeat the command"
        )
    text = str(error)
    if _DID_NOT_START in text:
        return (
            f"{_runner(options)} could not start Beam's job server: {text}. The log has what it "
            "printed. Check that it is of the installed version of Beam and fits the installed Java"
        )
    if _SILENT.fullmatch(text):
        return f"{text.strip()} The engine gave no reason; its own log has one"
    # With a traceback of Python it is a worker that could not connect, such as with a store.
    if "failed in state" in text and _TRACEBACK not in text and (hint := _pool_hint(given, text)):
        return f"{text.strip()}{hint}"
    return ""


def _is_of_grpc(error: BaseException, kind: str) -> bool:
    return any(of.__module__ == "grpc" and of.__name__ == kind for of in type(error).__mro__)


def _pool_hint(given: beam_options.Options, text: str) -> str:
    pool = given.get(_POOL) or given.get("environment_options", "")
    if given.get("environment_type", "").upper() != "EXTERNAL" or not _NO_CONNECTION.search(text):
        return ""
    return (
        f"; check that a worker pool listens where the engine looks for it, --{_POOL}={pool}, as "
        "seen from each of the engine's machines"
    )


def _runner(options: Sequence[str]) -> str:
    return beam_options.parsed(options).get("runner", "")
