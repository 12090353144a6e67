"""Beam's file systems for use outside of a pipeline.

Importing this module is cheap; Beam is imported when a file system is used.
"""

import contextlib
import importlib
import logging
import queue
import re
import threading
from collections.abc import Callable
from types import ModuleType
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
    return apache_beam.io


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
