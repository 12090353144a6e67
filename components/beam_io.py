"""Beam's file systems, ready for use outside of a pipeline.

Importing this module is cheap; Beam is imported when a file system is asked for.
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

# What Beam reads as a pattern; it has no way to quote these.
_BEFORE_PATTERN = re.compile(r"[^\[*?]*")

CONTACT_SECONDS = 20.0
"""How long a store may take for its first answer."""

_STORE = re.compile(r"(?P<scheme>[^:]+)://[^/]*")
# What Beam imports when it is first asked, for seconds that are not the store's.
_CLIENTS = {"gs": "apache_beam.io.gcp.gcsio", "s3": "apache_beam.io.aws.s3io"}
# Logs a traceback with each try, which would stand before the one line that says what is wrong.
_RETRIES = "apache_beam.utils.retry"
_answered: set[str] = set()


def beam_io() -> ModuleType:
    """`apache_beam.io`, whose `filesystems` can be used before any pipeline is made.

    A store's address and credentials come from the environment, such as `AWS_ENDPOINT_URL`,
    unless options of a pipeline say otherwise.
    """
    import apache_beam.io.filesystem
    import apache_beam.io.filesystems
    from apache_beam.options.pipeline_options import PipelineOptions

    systems = apache_beam.io.filesystems.FileSystems
    # Beam's S3 refuses to work without options, which else come with the first pipeline.
    if not systems._pipeline_options:
        systems.set_options(PipelineOptions([]))
    return apache_beam.io


def files_below(prefix: str) -> list[Any]:
    """Beam's metadata of all files whose path begins with a text, taken literally.

    Args:
      prefix: with its scheme, such as `s3://bucket/photos/`; `[`, `*` and `?` in it are
        signs like any other.

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
    """Beam's metadata of one file, its path taken literally; None where there is no such file.

    Raises:
      BeamIOError: the store can't be asked.
      ValueError: Beam has no file system for the scheme.
    """
    first_answer(path)
    system = beam_io().filesystems.FileSystems.get_filesystem(path)
    return system.metadata(path) if system.exists(path) else None


def checksums(scheme: str) -> Callable[[str], str]:
    """What gives the checksum that a store keeps of a file, by one connection for all of them.

    Beam's own `FileSystems.checksum` makes a client for each file, which costs a tenth of a
    second.

    Args:
      scheme: `gs` or `s3`.

    Returns:
      A function of a path, for use by many threads. It raises what the store's client raises.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    options = PipelineOptions([])
    if scheme == "s3":
        from apache_beam.io.aws.s3io import S3IO

        return S3IO(options=options).checksum
    from apache_beam.io.gcp.gcsio import GcsIO

    return GcsIO(pipeline_options=options).checksum


def first_answer(path: str) -> Exception | None:
    """Waits for the first answer of a store, which its client would try to get for minutes.

    Args:
      path: in the store, such as `gs://bucket/photos`.

    Returns:
      The error that the store's client answered with, if any; None where the store has
      answered before.

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
    # A daemon: the client tries on, and nothing stops it but the end of the process.
    threading.Thread(target=_ask, args=(beam, path, answer), daemon=True).start()
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


def _ask(beam: ModuleType, path: str, answer: "queue.SimpleQueue[Exception | None]") -> None:
    try:
        if path.startswith("gs://"):
            _seek_credentials_once()
        beam.filesystems.FileSystems.match([_pattern_below(path)], limits=[1])
    except Exception as error:  # whatever a store's client raises belongs to whoever waits
        answer.put(error)
    else:
        answer.put(None)


def _seek_credentials_once() -> None:
    """Keeps Beam from seeking Google's credentials five times, for up to a minute, in vain."""
    import google.auth
    from apache_beam.internal.gcp import auth

    try:
        google.auth.default()
    except google.auth.exceptions.DefaultCredentialsError:
        auth._Credentials._credentials_init = True  # there are none: public buckets only
