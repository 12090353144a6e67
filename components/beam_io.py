"""Beam's file systems for use outside of a pipeline.

Importing this module is cheap; Beam is imported when a file system is used.
"""

import contextlib
import errno
import functools
import importlib
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

# Beam reads these characters as a pattern, and they can't be escaped.
_BEFORE_PATTERN = re.compile(r"[^\[*?]*")

CONTACT_SECONDS = 20.0
"""Time-out for the first answer of a store, in seconds."""

_STORE = re.compile(r"(?P<scheme>[^:]+)://[^/]*")
# Beam imports these at its first call, which takes seconds that don't count for the time-out.
_CLIENTS = {"gs": "apache_beam.io.gcp.gcsio", "s3": "apache_beam.io.aws.s3io"}
# Logs a traceback with each attempt, which would hide the error message.
_RETRIES = "apache_beam.utils.retry"
_answered: set[str] = set()

_BODY_TRIES = 3
_PAUSE_SECONDS = 2.0
_MISSING = 404
_clients_lock = threading.Lock()


class StoreError(OSError):
    """An object could not be read from, or written to, a store; the message says which and why.

    It says nothing about the object's content: the same request may succeed later.
    """


def beam_io() -> ModuleType:
    """Returns `apache_beam.io`, whose `filesystems` can be used without a pipeline.

    A store's address and credentials are read from the environment, such as
    `AWS_ENDPOINT_URL`, unless the options of a pipeline set them.
    """
    import apache_beam.io.filesystem
    import apache_beam.io.filesystems
    from apache_beam.options.pipeline_options import PipelineOptions

    systems = apache_beam.io.filesystems.FileSystems
    # Beam's S3 client requires options, which are otherwise set by the first pipeline.
    if not systems._pipeline_options:
        systems.set_options(PipelineOptions([]))
    _share_s3_clients()
    return apache_beam.io


def _share_s3_clients() -> None:
    """Makes Beam use one S3 client per process, not one per file, which takes 0.4 s of CPU time."""
    with contextlib.suppress(ImportError):  # installed without S3
        from apache_beam.io.aws.clients.s3 import boto3_client

        boto3_client.boto3 = SimpleNamespace(session=SimpleNamespace(Session=_SharedSession))


class _SharedSession:
    """Replaces boto3's session in Beam: threads share its clients, which boto3 allows."""

    @staticmethod
    def client(**arguments: Any) -> Any:
        """Returns the process's client; a new one if the environment has changed."""
        environment = {key: value for key, value in os.environ.items() if key.startswith("AWS_")}
        with _clients_lock:
            return _client(_items(environment), _items(arguments), os.getpid())


def _items(values: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(values.items()))


@functools.lru_cache(maxsize=8)
def _client(
    environment: tuple[tuple[str, Any], ...], arguments: tuple[tuple[str, Any], ...], process: int
) -> Any:
    import boto3

    return boto3.session.Session().client(**dict(arguments))


def read_s3(path: str) -> bytes:
    """Returns the content of an object in S3, in one request.

    The client itself repeats failed requests; this function repeats those whose body is incomplete.

    Raises:
      FileNotFoundError: the object does not exist.
      StoreError: it can't be read.
    """
    with store_errors(path):
        first_answer(path)
        beam_io()
        from apache_beam.io.aws.s3io import S3IO
        from apache_beam.options.pipeline_options import PipelineOptions
        from botocore.exceptions import BotoCoreError

        client = S3IO(options=PipelineOptions([])).client.client
        bucket, _, key = path.partition("://")[2].partition("/")
        for attempt in range(1, _BODY_TRIES + 1):
            body = client.get_object(Bucket=bucket, Key=key)["Body"]
            try:
                return bytes(body.read())
            except BotoCoreError:
                if attempt == _BODY_TRIES:
                    raise
                time.sleep(_PAUSE_SECONDS)
    raise AssertionError  # the last attempt returns or raises


@contextlib.contextmanager
def store_errors(path: str) -> Iterator[None]:
    """Raises the errors of any store's client as errors of the operating system.

    Args:
      path: the object, for the message.

    Raises:
      FileNotFoundError: the store says that the object does not exist.
      StoreError: any other error.
    """
    try:
        yield
    except (FileNotFoundError, StoreError):
        raise
    except Exception as error:  # each store's client raises its own errors
        raise _store_error(path, error) from None


def raise_failed(results: Iterable[tuple[str, str, Exception | None]] | None) -> None:
    """Raises the first error in a result of Beam's `copy`, which for S3 returns errors."""
    for source, _, error in results or ():
        if error is not None:
            raise _store_error(source, error)


def _store_error(path: str, error: Exception) -> OSError:
    # Beam's own error contains those of the store's client.
    causes = list((getattr(error, "exception_details", None) or {"": error}).values())
    first = causes[0]
    if all(map(_is_missing, causes)):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return StoreError(
        f"{path} can't be read or written in its store ({type(first).__name__}: {first}); check "
        "that the store can be reached and that the credentials allow this, then run again"
    )


def _is_missing(error: Exception) -> bool:
    response = getattr(error, "response", None) or {}
    code = response.get("ResponseMetadata", {}).get("HTTPStatusCode", getattr(error, "code", 0))
    return code == _MISSING and "NoSuchBucket" not in str(error)


def files_below(prefix: str) -> list[Any]:
    """Returns Beam's metadata of all files whose path starts with a literal prefix.

    Args:
      prefix: with its scheme, such as `s3://bucket/photos/`; `[`, `*` and `?` have no special
        meaning.

    Raises:
      BeamIOError: the store can't be listed.
      ValueError: Beam has no file system for the scheme.
    """
    if error := first_answer(prefix):
        raise error
    pattern = _pattern_below(prefix)
    (found,) = beam_io().filesystems.FileSystems.match([pattern])
    return [metadata for metadata in found.metadata_list if metadata.path.startswith(prefix)]


def _pattern_below(prefix: str) -> str:
    plain = _BEFORE_PATTERN.match(prefix)
    return f"{plain.group() if plain else ''}**"


def file_at(path: str) -> Any | None:
    """Returns Beam's metadata of the file at a literal path; None if it does not exist.

    Raises:
      BeamIOError: the store can't be read.
      ValueError: Beam has no file system for the scheme.
    """
    first_answer(path)
    system = beam_io().filesystems.FileSystems.get_filesystem(path)
    return system.metadata(path) if system.exists(path) else None


def checksums(scheme: str) -> Callable[[str], str]:
    """Returns a function that gets a file's checksum from a store, with one client for all files.

    Beam's own `FileSystems.checksum` creates a client for each file, which takes 0.1 seconds.

    Args:
      scheme: `gs` or `s3`.

    Returns:
      A function of a path, safe for use by many threads. It raises the store client's errors.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    options = PipelineOptions([])
    if scheme == "s3":
        from apache_beam.io.aws.s3io import S3IO

        return S3IO(options=options).checksum
    from apache_beam.io.gcp.gcsio import GcsIO

    return GcsIO(pipeline_options=options).checksum


def first_answer(path: str) -> Exception | None:
    """Waits for the first answer of a store, for which its client would retry for minutes.

    Args:
      path: in the store, such as `gs://bucket/photos`.

    Returns:
      The error of the store's client, if any; None if the store has answered before.

    Raises:
      TimeoutError: there was no answer within `CONTACT_SECONDS`.
    """
    match = _STORE.match(path)
    if match is None or match[0] in _answered:
        return None
    answer: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    beam = beam_io()
    with contextlib.suppress(ImportError):
        importlib.import_module(_CLIENTS.get(match["scheme"], __name__))
    retries = logging.getLogger(_RETRIES)
    level = retries.level
    retries.setLevel(logging.ERROR)
    # A daemon, since the client keeps retrying until the process ends.
    threading.Thread(target=_query, args=(beam, path, answer), daemon=True).start()
    try:
        error = answer.get(timeout=CONTACT_SECONDS)
    except queue.Empty:
        raise TimeoutError(
            f"{match[0]} did not answer within {CONTACT_SECONDS:g} seconds; check the network, "
            "HTTPS_PROXY if there is a proxy, and the store's address and credentials in the "
            "environment"
        ) from None
    retries.setLevel(level)
    _answered.add(match[0])
    return error


def _query(beam: ModuleType, path: str, answer: "queue.SimpleQueue[Exception | None]") -> None:
    try:
        if path.startswith("gs://"):
            _look_up_credentials_once()
        beam.filesystems.FileSystems.match([_pattern_below(path)], limits=[1])
    except Exception as error:  # any error of a store's client is passed to the waiting thread
        answer.put(error)
    else:
        answer.put(None)


def _look_up_credentials_once() -> None:
    """Prevents Beam from looking up missing Google credentials five times, for up to a minute."""
    import google.auth
    from apache_beam.internal.gcp import auth

    try:
        google.auth.default()
    except google.auth.exceptions.DefaultCredentialsError:
        auth._Credentials._credentials_init = True  # there are none: public buckets only
