"""A proxy in front of an S3 stand-in that answers requests for chosen objects with faults."""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("403", "503", "reset", "cut")
"""Answers without the object: two statuses, a closed connection, and half of the body."""

_DELAY_SECONDS = 0.3


class FaultyStore(ThreadingHTTPServer):
    """Forwards requests to another server, except for the next ones for objects with a fault.

    Attributes:
      faults: name of the fault by key, one of `FAULTS` or `delay`.
      times: how often each fault occurs, by key; a missing key: always.
      requests: number of GET requests by key.
    """

    daemon_threads = True

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = port
        self.faults: dict[str, str] = {}
        self.times: dict[str, int] = {}
        self.requests: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self, key: str) -> str:
        """Returns the fault of this request; empty if it is forwarded."""
        self.requests[key] = self.requests.get(key, 0) + 1
        left = self.times.get(key, 1)
        if key not in self.faults or left <= 0:
            return ""
        if key in self.times:
            self.times[key] = left - 1
        return self.faults[key]

    def clear(self) -> None:
        for values in (self.faults, self.times, self.requests):
            values.clear()


@contextmanager
def faulty_store(port: int) -> Iterator[FaultyStore]:
    """Yields a running proxy in front of the server at a local port."""
    with FaultyStore(port) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        yield store
        store.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyStore

    def _answer(self) -> None:
        key = self.path.split("?")[0].split("/", 2)[-1]
        fault = self.server.next_fault(key) if self.command == "GET" and key else ""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "reset":
            # Closing with this option sends a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if fault.isdecimal():
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "delay":
            time.sleep(_DELAY_SECONDS)
        self._forward(body, cut=fault == "cut")

    def _forward(self, body: bytes, *, cut: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut
        connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names of the library

    def log_message(self, *_: object) -> None:
        """Logs nothing."""
