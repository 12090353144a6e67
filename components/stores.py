"""Objects in S3 and Google Cloud Storage: one client per process, and a limited number of tries.

Addresses and credentials come from the environment: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID` and so
on, or Google's default credentials. Importing this module is cheap; a store's client is imported
when it is used.
"""

import contextlib
import errno
import functools
import importlib
import io
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

CONNECTIONS = 64
"""Of a client that are kept open; a thread more closes its own after each request."""

_BODY_TRIES = 3
_PAUSE_SECONDS = 2.0
_DELETED_AT_ONCE = 1_000
_GOOGLE_RETRY_SECONDS = 30.0
_GOOGLE_FIRST_PAUSE_SECONDS = 1.0
_MISSING = 404
# Another writer was first: S3 says the second while a write of the same object is in progress.
_CONDITION_FAILED, _CONFLICT = 412, 409
_CONTENT_TYPE = "application/octet-stream"
_NO_BUCKET = ("NoSuchBucket", "bucket does not exist")

_Read = TypeVar("_Read")

_clients_lock = threading.Lock()


class StoreError(OSError):
    """An object could not be read from, or written to, a store; the message says which and why.

    It says nothing about the object's content: the same request may succeed later.
    """


class StoredFile(NamedTuple):
    """An object, with Beam's names of its metadata.

    Attributes:
      path: with its scheme.
      size_in_bytes: its size.
      last_updated_in_seconds: time of its last change, since 1970.
      checksum: the store's own, of its content.
    """

    path: str
    size_in_bytes: int
    last_updated_in_seconds: float
    checksum: str


class Store(Protocol):
    """A kind of object store.

    Each method raises `StoreError`, which names the path, if the store does not do it after a
    limited number of tries; `read`, `read_tagged`, `download` and `copy` raise `FileNotFoundError`
    if there is no such object.
    """

    def read(self, path: str) -> bytes:
        """Returns the content of an object, in one request."""

    def write(self, path: str, content: bytes) -> None:
        """Replaces an object, or creates it: all of it or nothing."""

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        """Returns the content of an object, and a tag for `write_if`."""

    def write_if(self, path: str, content: bytes, tag: str | None) -> bool:
        """Replaces an object, or creates it, unless another writer has done so: atomically.

        Args:
          path: of the object.
          content: its new content.
          tag: that of the content that it replaces; None if there must be no object.

        Returns:
          Whether the object has this content now.
        """

    def upload(self, source: Path, path: str) -> None:
        """Replaces an object, or creates it, by a local file, which is not read into memory."""

    def download(self, path: str, target: Path) -> None:
        """Writes the content of an object into a local file, without reading it into memory."""

    def find(self, path: str) -> StoredFile | None:
        """Returns an object's metadata; None if it does not exist."""

    def each_below(self, prefix: str, limit: int | None = None) -> Iterator[StoredFile]:
        """Yields the objects whose path starts with a prefix, at most `limit`, page by page."""

    def below(self, prefix: str, limit: int | None = None) -> list[StoredFile]:
        """Returns what `each_below` yields."""

    def folders(self, prefix: str) -> Iterator[str]:
        """Yields the names of the folders directly below a prefix, which ends in `/`."""

    def copy(self, source: str, target: str) -> None:
        """Copies an object within the kind of store."""

    def delete(self, paths: Iterable[str]) -> None:
        """Deletes objects; those that don't exist are ignored."""


def store_of(path: str) -> Store | None:
    """Returns the store that has a path; None if it is neither in S3 nor Google Cloud Storage."""
    return _STORES.get(path.partition("://")[0].lower()) if "://" in path else None


def client_of(path: str) -> Any:
    """Returns the process's client of the store that has a path: of boto3 or Google."""
    return _STORES[path.partition("://")[0].lower()]._client()


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


def _store_error(path: str, error: Exception) -> OSError:
    # Beam's own error contains those of the store's client.
    causes = list((getattr(error, "exception_details", None) or {"": error}).values())
    first = causes[0]
    if all(map(_is_missing, causes)):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return _unreachable(path, first)


def _unreachable(path: str, first: Exception) -> StoreError:
    return StoreError(
        f"{path} can't be read or written in its store ({type(first).__name__}: {first}); check "
        "that the store can be reached and that the credentials allow this, then run again"
    )


@contextlib.contextmanager
def _listing_errors(prefix: str) -> Iterator[None]:
    """As `store_errors`, but what is missing can only be the bucket, which is an error."""
    try:
        with store_errors(prefix):
            yield
    except FileNotFoundError as error:
        raise _unreachable(prefix, error) from None


def _is_missing(error: Exception) -> bool:
    return _status(error) == _MISSING and not any(text in str(error) for text in _NO_BUCKET)


def _status(error: Exception) -> int:
    """Returns the HTTP status of an error of a store's client; 0 without one."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return metadata.get("HTTPStatusCode", getattr(error, "code", 0)) or 0


@contextlib.contextmanager
def _conditions(path: str) -> Iterator[None]:
    """As `store_errors`, but raises `_AnotherWriterError` if the condition of a write fails."""
    with store_errors(path):
        try:
            yield
        except Exception as error:  # each store's client raises its own errors
            # What is to be replaced may have been deleted, too.
            if _status(error) in (_CONDITION_FAILED, _CONFLICT) or _is_missing(error):
                raise _AnotherWriterError(path) from error
            raise


class _AnotherWriterError(StoreError):
    pass


def _written_if(store: Store, path: str, content: bytes) -> bool:
    """Returns whether an object has a content, although the store refused to write it.

    The client may have repeated a write that succeeded, whose answer was lost.
    """
    try:
        return store.read(path) == content
    except FileNotFoundError:
        return False


def _parts(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("://")[2].partition("/")
    return bucket, key


def _whole(read: Callable[[], _Read], damage: type[Exception]) -> _Read:
    """Returns what a function returns, which is called again if the content was damaged."""
    for attempt in itertools.count(1):
        try:
            return read()
        except damage:
            if attempt == _BODY_TRIES:
                raise
            time.sleep(_PAUSE_SECONDS)
    raise AssertionError  # the last attempt returns or raises


class _S3:
    """S3; the client repeats failed requests, and `read` those whose body is incomplete."""

    def read(self, path: str) -> bytes:
        return self.read_tagged(path)[0]

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        from botocore.exceptions import BotoCoreError

        bucket, key = _parts(path)
        with store_errors(path):
            for attempt in itertools.count(1):
                found = self._client().get_object(Bucket=bucket, Key=key)
                try:
                    return bytes(found["Body"].read()), found["ETag"]
                except BotoCoreError:
                    if attempt == _BODY_TRIES:
                        raise
                    time.sleep(_PAUSE_SECONDS)
        raise AssertionError  # the last attempt returns or raises

    def write(self, path: str, content: bytes) -> None:
        bucket, key = _parts(path)
        with store_errors(path):
            self._client().upload_fileobj(io.BytesIO(content), bucket, key)

    def write_if(self, path: str, content: bytes, tag: str | None) -> bool:
        bucket, key = _parts(path)
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            with _conditions(path):
                self._client().put_object(Bucket=bucket, Key=key, Body=content, **condition)
        except _AnotherWriterError:
            return _written_if(self, path, content)
        return True

    def upload(self, source: Path, path: str) -> None:
        with store_errors(path):
            self._client().upload_file(str(source), *_parts(path))

    def download(self, path: str, target: Path) -> None:
        from botocore.exceptions import FlexibleChecksumError

        with store_errors(path):
            # It repeats all but this error itself.
            _whole(
                lambda: self._client().download_file(*_parts(path), str(target)),
                FlexibleChecksumError,
            )

    def find(self, path: str) -> StoredFile | None:
        bucket, key = _parts(path)
        try:
            with store_errors(path):
                found = self._client().head_object(Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        changed = found["LastModified"].timestamp()
        return StoredFile(path, found["ContentLength"], changed, found["ETag"])

    def each_below(self, prefix: str, limit: int | None = None) -> Iterator[StoredFile]:
        bucket, key = _parts(prefix)
        config = {} if limit is None else {"MaxItems": limit, "PageSize": limit}
        with _listing_errors(prefix):
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=key, PaginationConfig=config):
                for entry in page.get("Contents", []):
                    yield StoredFile(
                        f"s3://{bucket}/{entry['Key']}",
                        entry["Size"],
                        entry["LastModified"].timestamp(),
                        entry["ETag"],
                    )

    def below(self, prefix: str, limit: int | None = None) -> list[StoredFile]:
        return list(self.each_below(prefix, limit))

    def folders(self, prefix: str) -> Iterator[str]:
        bucket, key = _parts(prefix)
        with _listing_errors(prefix):
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=key, Delimiter="/"):
                for entry in page.get("CommonPrefixes", []):
                    yield entry["Prefix"].removeprefix(key).rstrip("/")

    def copy(self, source: str, target: str) -> None:
        bucket, key = _parts(source)
        with store_errors(source):
            self._client().copy({"Bucket": bucket, "Key": key}, *_parts(target))

    def delete(self, paths: Iterable[str]) -> None:
        by_bucket = itertools.groupby(sorted(paths), key=lambda path: _parts(path)[0])
        for bucket, of_bucket in by_bucket:
            keys = [_parts(path)[1] for path in of_bucket]
            for first in range(0, len(keys), _DELETED_AT_ONCE):
                self._delete(bucket, keys[first : first + _DELETED_AT_ONCE])

    def _delete(self, bucket: str, keys: list[str]) -> None:
        objects = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        with store_errors(f"s3://{bucket}/{keys[0]}"):
            answer = self._client().delete_objects(Bucket=bucket, Delete=objects)
        for error in answer.get("Errors", []):
            message = f"{error.get('Code')}: {error.get('Message')}"
            raise _store_error(f"s3://{bucket}/{error.get('Key')}", OSError(message))

    @staticmethod
    def _client() -> Any:
        """Returns the process's client; a new one if the environment has changed.

        Threads share it, which boto3 allows. Creating one takes 0.4 s of CPU time.
        """
        with _clients_lock:
            return _s3_client(_environment("AWS_"), os.getpid())


class _Google:
    """Google Cloud Storage; the client repeats failed and incomplete requests for 30 seconds."""

    def read(self, path: str) -> bytes:
        with store_errors(path):
            # Otherwise objects with `Content-Encoding: gzip` would be decompressed.
            return _whole(
                lambda: bytes(
                    self._blob(path).download_as_bytes(raw_download=True, retry=self._retry())
                ),
                self._damage(),
            )

    def read_tagged(self, path: str) -> tuple[bytes, str]:
        bucket, key = _parts(path)
        with store_errors(path):
            found = self._client().bucket(bucket).get_blob(key, retry=self._retry())
            if found is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            # If it is replaced in between, the tag is that of the older content, with which
            # nothing is written.
            return self.read(path), str(found.generation)

    def write(self, path: str, content: bytes) -> None:
        with store_errors(path):
            self._upload_text(path, content)

    def write_if(self, path: str, content: bytes, tag: str | None) -> bool:
        try:
            with _conditions(path):
                self._upload_text(path, content, if_generation_match=int(tag or 0))
        except _AnotherWriterError:
            return _written_if(self, path, content)
        return True

    def upload(self, source: Path, path: str) -> None:
        with store_errors(path):
            self._blob(path).upload_from_filename(
                str(source), content_type=_CONTENT_TYPE, retry=self._retry()
            )

    def download(self, path: str, target: Path) -> None:
        with store_errors(path):
            _whole(
                lambda: self._blob(path).download_to_filename(
                    str(target), raw_download=True, retry=self._retry()
                ),
                self._damage(),
            )

    def find(self, path: str) -> StoredFile | None:
        bucket, key = _parts(path)
        with store_errors(path):
            found = self._client().bucket(bucket).get_blob(key, retry=self._retry())
        return None if found is None else _stored(found)

    def each_below(self, prefix: str, limit: int | None = None) -> Iterator[StoredFile]:
        bucket, key = _parts(prefix)
        with _listing_errors(prefix):
            listed = self._client().list_blobs(
                bucket, prefix=key, max_results=limit, retry=self._retry()
            )
            yield from map(_stored, itertools.islice(listed, limit))

    def below(self, prefix: str, limit: int | None = None) -> list[StoredFile]:
        return list(self.each_below(prefix, limit))

    def folders(self, prefix: str) -> Iterator[str]:
        bucket, key = _parts(prefix)
        with _listing_errors(prefix):
            listed = self._client().list_blobs(
                bucket, prefix=key, delimiter="/", retry=self._retry()
            )
            for page in listed.pages:
                for folder in page.prefixes:
                    yield folder.removeprefix(key).rstrip("/")

    def copy(self, source: str, target: str) -> None:
        copied, token = self._blob(target), None
        with store_errors(source):
            while True:  # a large object takes several requests
                token, *_ = copied.rewrite(self._blob(source), token=token, retry=self._retry())
                if token is None:
                    return

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError), store_errors(path):
                self._blob(path).delete(retry=self._retry())

    def _upload_text(self, path: str, content: bytes, **condition: int) -> None:
        self._blob(path).upload_from_string(
            content, content_type=_CONTENT_TYPE, retry=self._retry(), **condition
        )

    def _blob(self, path: str) -> Any:
        bucket, key = _parts(path)
        with store_errors(path):
            return self._client().bucket(bucket).blob(key)

    @staticmethod
    def _client() -> Any:
        """Returns the process's client, which takes 0.1 s; a new one if the environment changed."""
        with _clients_lock:
            return _google_client(_Google._environment(), os.getpid())

    @staticmethod
    def _environment() -> tuple[tuple[str, str], ...]:
        return _environment("GOOGLE_", "STORAGE_", "CLOUDSDK_")

    @staticmethod
    def _damage() -> type[Exception]:
        """Returns the error of a content that differs from its checksum."""
        error: type[Exception] = importlib.import_module(
            "google.cloud.storage.exceptions"
        ).DataCorruption
        return error

    @staticmethod
    def _retry() -> Any:
        from google.cloud.storage.retry import DEFAULT_RETRY

        retry = DEFAULT_RETRY.with_delay(initial=_GOOGLE_FIRST_PAUSE_SECONDS)
        return retry.with_timeout(_GOOGLE_RETRY_SECONDS)


def _stored(blob: Any) -> StoredFile:
    path = f"gs://{blob.bucket.name}/{blob.name}"
    return StoredFile(path, blob.size, blob.updated.timestamp(), blob.crc32c)


_STORES: dict[str, "_S3 | _Google"] = {"s3": _S3(), "gs": _Google()}


def _environment(*prefixes: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith(prefixes)))


@functools.lru_cache(maxsize=8)
def _s3_client(environment: tuple[tuple[str, str], ...], process: int) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.session import get_session

    session = get_session()
    factory = session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=_timestamp)
    config = Config(max_pool_connections=CONNECTIONS)
    return boto3.session.Session(botocore_session=session).client("s3", config=config)


def _timestamp(value: Any) -> datetime:
    """Parses a time as botocore does; those of a list, of one object each, in less time."""
    from botocore.utils import parse_timestamp

    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        found = None
    return found if found and found.tzinfo else parse_timestamp(value)


@functools.lru_cache(maxsize=8)
def _google_client(environment: tuple[tuple[str, str], ...], process: int) -> Any:
    # Imported by name, since stubs of other Google packages hide this one from mypy.
    storage = importlib.import_module("google.cloud.storage")
    exceptions = importlib.import_module("google.auth.exceptions")
    try:
        return storage.Client(project=None)
    except exceptions.DefaultCredentialsError:
        return storage.Client.create_anonymous_client()  # public buckets only
