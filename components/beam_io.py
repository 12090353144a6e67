"""Beam's file systems for use outside of a pipeline.

Importing this module is cheap; Beam is imported when a file system is used.
"""

import contextlib
import importlib
import logging
import queue
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from types import ModuleType
from typing import Any

from components.stores import store_of

# Beam reads these characters as a pattern, and they can't be escaped.
_BEFORE_PATTERN = re.compile(r"[^\[*?]*")

CONTACT_SECONDS = 20.0
"""Time-out for the first answer of a store, in seconds."""

_STORE = re.compile(r"(?P<scheme>[^:]+)://[^/]*")
# Imported at the first call otherwise, which takes seconds that don't count for the time-out.
_CLIENTS = {"gs": "google.cloud.storage", "s3": "boto3"}
# Logs a traceback with each attempt, which would hide the error message.
_RETRIES = "apache_beam.utils.retry"
_answered: set[str] = set()
# Queries that have not been answered yet.
_asked: dict[str, "Future[Exception | None]"] = {}
_asked_lock = threading.Lock()


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


def files_below(prefix: str) -> Iterator[Any]:
    """Yields the metadata of all files whose path starts with a literal prefix, as Beam does.

    Of S3 and Google Cloud Storage, one page of the listing is in memory at a time.

    Args:
      prefix: with its scheme, such as `s3://bucket/photos/`; `[`, `*` and `?` have no special
        meaning.

    Raises:
      StoreError: the store can't be listed.
      BeamIOError: a file system other than S3 and Google Cloud Storage can't be listed.
      ValueError: Beam has no file system for the scheme.
    """
    if error := first_answer(prefix):
        raise error
    if store := store_of(prefix):
        yield from store.each_below(prefix)
        return
    (found,) = beam_io().filesystems.FileSystems.match([_pattern_below(prefix)])
    yield from (metadata for metadata in found.metadata_list if metadata.path.startswith(prefix))


def _pattern_below(prefix: str) -> str:
    plain = _BEFORE_PATTERN.match(prefix)
    return f"{plain.group() if plain else ''}**"


def file_at(path: str) -> Any | None:
    """Returns the metadata of the file at a literal path, as Beam does; None if there is none.

    Raises:
      StoreError: the store can't be read.
      BeamIOError: a file system other than S3 and Google Cloud Storage can't be read.
      ValueError: Beam has no file system for the scheme.
    """
    first_answer(path)
    if store := store_of(path):
        return store.find(path)
    system = beam_io().filesystems.FileSystems.get_filesystem(path)
    return system.metadata(path) if system.exists(path) else None


def checksum(path: str) -> str:
    """Returns the checksum that a store keeps of a file's content.

    Raises:
      FileNotFoundError: the file does not exist.
      StoreError: the store can't be read.
      BeamIOError: a file system other than S3 and Google Cloud Storage can't be read.
    """
    if store := store_of(path):
        if (found := store.find(path)) is None:
            raise FileNotFoundError(path)
        return found.checksum
    return str(beam_io().filesystems.FileSystems.checksum(path))


def first_answer(path: str) -> Exception | None:
    """Waits for the first answer of a store, for which its client would retry for minutes.

    Of several threads, the first one asks and the others wait for the same answer.

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
    with _asked_lock:
        is_asked = match[0] in _asked
        answer = _asked.setdefault(match[0], Future())
    if is_asked:
        return answer.result()
    try:
        answer.set_result(_answer_of(path, match["scheme"], match[0]))
        _answered.add(match[0])
    except BaseException as error:
        answer.set_exception(error)
        raise
    finally:
        with _asked_lock:
            del _asked[match[0]]
    return answer.result()


def _answer_of(path: str, scheme: str, store: str) -> Exception | None:
    answer: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    beam = beam_io()
    with contextlib.suppress(ImportError):
        importlib.import_module(_CLIENTS.get(scheme, __name__))
    retries = logging.getLogger(_RETRIES)
    level = retries.level
    retries.setLevel(logging.ERROR)
    # A daemon, since the client keeps retrying until the process ends.
    threading.Thread(target=_query, args=(beam, path, answer), daemon=True).start()
    try:
        error = answer.get(timeout=CONTACT_SECONDS)
    except queue.Empty:
        raise TimeoutError(
            f"{store} did not answer within {CONTACT_SECONDS:g} seconds; check the network, "
            "HTTPS_PROXY if there is a proxy, and the store's address and credentials in the "
            "environment"
        ) from None
    retries.setLevel(level)
    return error


def _query(beam: ModuleType, path: str, answer: "queue.SimpleQueue[Exception | None]") -> None:
    try:
        if store := store_of(path):
            store.below(path, limit=1)
        else:
            beam.filesystems.FileSystems.match([_pattern_below(path)], limits=[1])
    except Exception as error:  # any error of a store's client is passed to the waiting thread
        answer.put(error)
    else:
        answer.put(None)
