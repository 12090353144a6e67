"""A stand-in of S3 and Google Cloud Storage, for reading, that delays each answer.

    python -m benchmarks.slow_store FOLDER [--delay SECONDS]

Answers requests for objects and for lists of them; the folder's subfolders are the buckets. It is
an event loop without a framework that keeps its answers in memory, and takes about 0.07 ms of CPU
time per request that was made before, so that it is not what is measured. The folder must not
change. Prints its port when it is ready, and doesn't check signatures.
"""

import argparse
import asyncio
import base64
import functools
import hashlib
import json
import os
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import google_crc32c

_GOOGLE = "storage/v1/b/"
_PAGE = 1000
_TAG = '"0"'
_DATE = "2026-01-01T00:00:00.000Z"
_CHANGED = "Thu, 01 Jan 2026 00:00:00 GMT"

Query = dict[str, list[str]]


class _Protocol(asyncio.Protocol):
    def __init__(self, folder: str, delay_seconds: float):
        self._folder, self._delay = folder, delay_seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            verb, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
            loop = asyncio.get_running_loop()
            loop.call_later(self._delay, self._answer, verb, target)

    def _answer(self, verb: str, target: str) -> None:
        if not self._transport.is_closing():
            head, body = _answer(self._folder, target)
            self._transport.write(head if verb == "HEAD" else head + body)


@functools.cache
def _answer(folder: str, target: str) -> tuple[bytes, bytes]:
    """Returns the head and the body of the answer to a request."""
    url = urlsplit(target)
    path, query = unquote(url.path).strip("/"), parse_qs(url.query)
    google = path.startswith(_GOOGLE)
    bucket, _, key = path.removeprefix("download/").removeprefix(_GOOGLE).partition("/")
    try:
        if google and key == "o":
            body = _google_listing(folder, bucket, query)
        elif "list-type" in query:
            body = _s3_listing(folder, bucket, query)
        else:
            body = Path(folder, bucket, key.removeprefix("o/")).read_bytes()
    except OSError:
        return _head(HTTPStatus.NOT_FOUND, b""), b""
    return _head(HTTPStatus.OK, body), body


def _head(status: HTTPStatus, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {len(body)}\r\n"
        f"ETag: {_md5(body)}\r\nX-Goog-Hash: {_crc32c(body)}\r\n"
        f"Last-Modified: {_CHANGED}\r\n\r\n"
    ).encode()


def _md5(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _crc32c(content: bytes) -> str:
    value = google_crc32c.value(content).to_bytes(4, "big")
    return f"crc32c={base64.b64encode(value).decode()}"


def _s3_listing(folder: str, bucket: str, query: Query) -> bytes:
    page, token = _page(folder, bucket, query, after="continuation-token", limit="max-keys")
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>{_DATE}</LastModified>"
        f"<ETag>{escape(_TAG)}</ETag><Size>{size}</Size></Contents>"
        for key, size in page.items()
    )
    following = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket}</Name><IsTruncated>{str(bool(token)).lower()}</IsTruncated>"
        f"{following}{entries}</ListBucketResult>"
    ).encode()


def _google_listing(folder: str, bucket: str, query: Query) -> bytes:
    page, token = _page(folder, bucket, query, after="pageToken", limit="maxResults")
    items = [
        {"name": key, "bucket": bucket, "size": str(size), "updated": _DATE, "crc32c": _TAG}
        for key, size in page.items()
    ]
    return json.dumps({"items": items, **({"nextPageToken": token} if token else {})}).encode()


def _page(
    folder: str, bucket: str, query: Query, *, after: str, limit: str
) -> tuple[dict[str, int], str]:
    """Returns the keys of a page with their sizes, and the last one if there are more."""
    prefix, begin = (query.get(name, [""])[0] for name in ("prefix", after))
    count = min(_PAGE, int(query.get(limit, [str(_PAGE)])[0]))
    keys = [key for key in _keys(folder, bucket) if key.startswith(prefix) and key > begin]
    page = {key: os.stat(os.path.join(folder, bucket, key)).st_size for key in keys[:count]}
    return page, keys[count - 1] if len(keys) > count else ""


def _keys(folder: str, bucket: str) -> list[str]:
    root = Path(folder, bucket)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


async def _serve(folder: str, delay_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(folder, delay_seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", help="its subfolders are the buckets")
    parser.add_argument("--delay", type=float, default=0.02, help="of each answer, in seconds")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.folder, arguments.delay))


if __name__ == "__main__":
    main()
