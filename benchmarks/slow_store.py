"""A stand-in of S3 for reading that delays each answer: `python -m benchmarks.slow_store FOLDER`.

Answers GET, HEAD and ListObjectsV2 for the folder's subfolders, which are the buckets. An event
loop without a framework: it takes about 0.1 ms of CPU time per request, so that it is not what is
measured. Prints its port when it is ready. It doesn't check signatures.
"""

import argparse
import asyncio
import email.utils
import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_PAGE = 1000
_TAG = '"0"'
_DATE = "2026-01-01T00:00:00.000Z"


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
        if self._transport.is_closing():
            return
        path, query = unquote(urlsplit(target).path).strip("/"), urlsplit(target).query
        if "list-type=2" in query:
            body = _listing(self._folder, path, parse_qs(query)).encode()
            self._write(HTTPStatus.OK, body, "application/xml")
            return
        try:
            content = Path(self._folder, path).read_bytes()
        except OSError:
            body = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
            self._write(HTTPStatus.NOT_FOUND, body if verb == "GET" else b"", "application/xml")
            return
        self._write(HTTPStatus.OK, content, "binary/octet-stream", is_head=verb == "HEAD")

    def _write(
        self, status: HTTPStatus, body: bytes, kind: str, *, is_head: bool = False
    ) -> None:
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: {kind}\r\nETag: {_TAG}\r\n"
            f"Last-Modified: {email.utils.formatdate(0, usegmt=True)}\r\n\r\n"
        )
        self._transport.write(head.encode() + (b"" if is_head else body))


def _listing(folder: str, bucket: str, query: dict[str, list[str]]) -> str:
    prefix = query.get("prefix", [""])[0]
    after = query.get("continuation-token", [""])[0]
    limit = min(_PAGE, int(query.get("max-keys", [str(_PAGE)])[0]))
    keys = [key for key in _keys(folder, bucket) if key.startswith(prefix) and key > after]
    entries = "".join(_entry(folder, bucket, key) for key in keys[:limit])
    more = len(keys) > limit
    token = f"<NextContinuationToken>{escape(keys[limit - 1])}</NextContinuationToken>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket}</Name><IsTruncated>{str(more).lower()}</IsTruncated>"
        f"{token if more else ''}{entries}</ListBucketResult>"
    )


def _entry(folder: str, bucket: str, key: str) -> str:
    size = os.stat(os.path.join(folder, bucket, key)).st_size
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>{_DATE}</LastModified>"
        f"<ETag>{escape(_TAG)}</ETag><Size>{size}</Size></Contents>"
    )


def _keys(folder: str, bucket: str) -> Iterator[str]:
    root = Path(folder, bucket)
    yield from sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


async def _serve(folder: str, delay_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(folder, delay_seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves until the process is ended."""
    parser = argparse.ArgumentParser(description="A stand-in of S3 that delays each answer.")
    parser.add_argument("folder", help="its subfolders are the buckets")
    parser.add_argument("--delay", type=float, default=0.02, help="of each answer, in seconds")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.folder, arguments.delay))


if __name__ == "__main__":
    main()
