"""Reads objects with obstore, which takes a fifth of the CPU time of the stores' own clients.

obstore does not verify a content, so its MD5 is compared here with that which a store gives as the
tag of an object. All that is not read and verified in this way is left to the clients, which repeat
requests and know all errors. So are:

- the first objects of a bucket of S3, whose requests tell its address and region;
- objects without an MD5: those of several parts, or encrypted with keys of one's own;
- keys that obstore changes, such as `a//b` and `/a`;
- reads in the main thread, since no signal ends a request of obstore;
- reads in a process that was forked from one with obstore, in which obstore does not answer.
"""

import contextlib
import functools
import hashlib
import importlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from components.stores import CONNECTIONS, client_of, store_errors

_EVENT = "before-sign.s3.GetObject"
_SIGNATURE = "s3v4"
# boto3 renews credentials ten minutes before they expire.
_CREDENTIALS_KEPT = timedelta(minutes=9)
_CONNECT_TIMEOUT, _READ_TIMEOUT, _TIMEOUT = "60s", "60s", "600s"
_MD5 = re.compile("[0-9a-f]{32}")
_MOST_FAILURES = 16
_REST_SECONDS = 60.0
_CLIENT_SECONDS = 1.0

_lock = threading.Lock()
# By scheme, for whom to read, and until when.
_current: dict[str, tuple["_Reads", float]] = {}
# The id of the process that uses obstore.
_processes: set[int] = set()


def read(path: str) -> bytes | None:
    """Returns the content of an object; None if the store's client must be asked.

    Args:
      path: in S3 or Google Cloud Storage.

    Raises:
      StoreError: the store's client can't be created.
    """
    if threading.current_thread() is threading.main_thread() or not _is_first_process():
        return None
    scheme, _, place = path.partition("://")
    bucket, _, key = place.partition("/")
    reads = _reads_now(scheme.lower(), path)
    with _lock:
        known = reads.bucket(bucket)
    return None if known is None else known.read(key)


def _is_first_process() -> bool:
    # Without the lock, which a thread of the parent may have held when the process was forked.
    if not _processes:
        _processes.add(os.getpid())
    return os.getpid() in _processes


def _reads_now(scheme: str, path: str) -> "_Reads":
    # The environment, which tells the client, is not looked at for each image: it takes as long as
    # all else that is done here in Python.
    kept, until = _current.get(scheme, (None, 0.0))
    if kept is None or time.monotonic() >= until:
        with store_errors(path):
            client = client_of(path)
        kept = _reads(scheme, client)
        _current[scheme] = kept, time.monotonic() + _CLIENT_SECONDS
    return kept


class _Reads(Protocol):
    def bucket(self, name: str) -> "_Bucket | None":
        """Returns a bucket; None if obstore can't read from it, or not yet."""


class _Bucket:
    """A bucket; safe for use by many threads."""

    def __init__(self, store: Any):
        self._store = store
        self._failures = 0
        self._rests_until = 0.0

    def read(self, key: str) -> bytes | None:
        """Returns a verified content, or None.

        After several failures in a row, the bucket is left to the client for a minute.
        """
        if time.monotonic() < self._rests_until:
            return None
        content = self._verified(key)
        self._failures = 0 if content is not None else self._failures + 1
        if self._failures >= _MOST_FAILURES:
            self._rests_until = time.monotonic() + _REST_SECONDS
        return content

    def _verified(self, key: str) -> bytes | None:
        import obstore
        from obstore.exceptions import BaseError

        # The last two: there is no such object, and a key that obstore does not take.
        with contextlib.suppress(BaseError, FileNotFoundError, ValueError):
            found = obstore.get(self._store, key)
            meta = found.meta
            tag = (meta["e_tag"] or "").strip('"')
            if meta["path"] == key and _MD5.fullmatch(tag):
                content = bytes(found.bytes())
                if hashlib.md5(content, usedforsecurity=False).hexdigest() == tag:
                    return content
        return None


@functools.lru_cache(maxsize=8)
def _reads(scheme: str, client: Any) -> _Reads:
    return _Amazon(client) if scheme == "s3" else _Google(client)


class _Amazon:
    """Buckets of S3, with the addresses and credentials of a client of boto3."""

    def __init__(self, client: Any):
        self._authorities = _amazon_authorities()
        self._requests: dict[str, tuple[Mapping[str, Any], Callable[[], Any]]] = {}
        self._buckets: dict[str, tuple[Mapping[str, Any], _Bucket | None]] = {}
        client.meta.events.register(_EVENT, self._learn)

    def bucket(self, name: str) -> _Bucket | None:
        if name not in self._requests:
            return None
        address, credentials = self._requests[name]
        kept, found = self._buckets.get(name, (None, None))
        if kept != address:  # new, or the client was redirected
            found = _opened("S3Store", name, self._authorities, credentials, **address)
            self._buckets[name] = address, found
        return found

    def _learn(
        self,
        request: Any,
        request_signer: Any,
        signing_name: str,
        region_name: str,
        signature_version: str,
        **_: Any,
    ) -> None:
        """Is called by boto3 before it signs a request for an object."""
        bucket = request.context.get("input_params", {}).get("Bucket", "")
        style = _style(urlsplit(request.url), bucket)
        if signature_version != _SIGNATURE or style is None:
            self._requests.pop(bucket, None)
            return

        def credentials() -> dict[str, Any]:
            signer = request_signer.get_auth_instance(signing_name, region_name, _SIGNATURE)
            return {
                "access_key_id": signer.credentials.access_key,
                "secret_access_key": signer.credentials.secret_key,
                "token": signer.credentials.token,
                "expires_at": datetime.now(UTC) + _CREDENTIALS_KEPT,
            }

        self._requests[bucket] = {"region": region_name, **style}, credentials


def _style(url: SplitResult, bucket: str) -> dict[str, Any] | None:
    """Returns how a bucket is in the URL of an object; None if obstore does not know it."""
    endpoint = f"{url.scheme}://{url.netloc}"
    if url.netloc.startswith(f"{bucket}."):
        return {"endpoint": endpoint, "virtual_hosted_style_request": True}
    if url.path.startswith(f"/{bucket}/"):
        return {"endpoint": endpoint, "virtual_hosted_style_request": False}
    return None


class _Google:
    """Buckets of Google Cloud Storage, with the address and credentials of its client."""

    def __init__(self, client: Any):
        self._address = client.api_endpoint.rstrip("/")
        self._credentials = client._credentials
        self._buckets: dict[str, _Bucket | None] = {}

    def bucket(self, name: str) -> _Bucket | None:
        if name not in self._buckets:
            credentials = self._provider()
            self._buckets[name] = _opened(
                "GCSStore",
                name,
                _google_authorities(),
                credentials,
                base_url=self._address,
                skip_signature=credentials is None,
            )
        return self._buckets[name]

    def _provider(self) -> Any:
        """Returns what gives obstore a token; None if the client has no credentials."""
        known = importlib.import_module("google.auth.credentials")
        if isinstance(self._credentials, known.AnonymousCredentials):
            return None
        provider = importlib.import_module("obstore.auth.google").GoogleCredentialProvider
        return provider(self._credentials)


def _amazon_authorities() -> str | None:
    """Returns the file with which boto3 verifies servers, if one is set."""
    from botocore.session import get_session

    given = get_session().get_config_variable("ca_bundle")
    return given or os.environ.get("REQUESTS_CA_BUNDLE")


def _google_authorities() -> str | None:
    """Returns the file with which Google's client verifies servers, if one is set."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")


def _opened(
    kind: str, bucket: str, authorities: str | None, credentials: Any, **options: Any
) -> _Bucket | None:
    """Returns a bucket; None if obstore does not accept its options.

    Args:
      kind: name of obstore's class.
      bucket: its name.
      authorities: file of certificates; None for those that come with Python's clients.
      credentials: returns them; None if there are none.
      **options: of the class.
    """
    from obstore.exceptions import BaseError

    try:
        store = getattr(importlib.import_module("obstore.store"), kind)(
            bucket,
            credential_provider=credentials,
            client_options={
                "allow_http": True,
                "connect_timeout": _CONNECT_TIMEOUT,
                "pool_max_idle_per_host": str(CONNECTIONS),
                "read_timeout": _READ_TIMEOUT,
                "root_certificate": Path(authorities or _certificates()).read_bytes(),
                "timeout": _TIMEOUT,
            },
            # The store's client repeats requests.
            retry_config={"max_retries": 0},
            **options,
        )
    except (BaseError, OSError, ValueError):
        return None
    return _Bucket(store)


def _certificates() -> str:
    import certifi

    return certifi.where()
