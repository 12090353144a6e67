"""A proxy in front of a stand-in of S3 or Google Cloud Storage that answers with faults."""

import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

FAULTS = ("403", "503", "reset", "cut")
"""Answers without the object: two statuses, a closed connection, and half of the body."""

VERBS = ("GET", "PUT", "LIST", "HEAD")
"""What is asked of a store: an object, to keep one, a list of objects, and an object's metadata."""

_GOOGLE_CONTENT = "/download/storage/v1/b/"


@dataclass
class Fault:
    """A fault of a verb's requests.

    Attributes:
      verb: one of `VERBS`.
      name: one of `FAULTS`; `delay`; `damage`: one bit of the body is another; or `lost`: the
        request is done, and its answer is lost.
      first: the number of the first request of the verb that it hits, from 1.
      times: how many requests of the same path it hits; None: all that follow.
      path: of the first request that it has hit; empty before.
      hits: how many it has hit.
    """

    verb: str
    name: str
    first: int = 1
    times: int | None = 1
    path: str = ""
    hits: int = 0

    def hit(self, verb: str, path: str, number: int) -> bool:
        """Whether it hits a request, by the number of requests of the verb so far."""
        due = verb == self.verb and number >= self.first and self.path in {"", path}
        if not due or self.hits == self.times:
            return False
        self.path, self.hits = path, self.hits + 1
        return True


class Unreliable:
    """A store with a fault now and then, which passes: no request is hit twice in a row.

    Attributes:
      hits: verb and path of what was hit, with the fault.
    """

    def __init__(self, every: int):
        """Starts with the first fault.

        Args:
          every: of so many different requests one is hit, when it is made first. So their number
            does not depend on the order in which threads make them.
        """
        self.hits: dict[tuple[str, str], str] = {}
        self._every = every
        self._asked: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def fault(self, verb: str, path: str) -> str:
        """Returns the fault of a request; empty if it has none."""
        with self._lock:
            if verb not in VERBS or (verb, path) in self._asked:
                return ""
            self._asked.add((verb, path))
            if len(self._asked) % self._every:
                return ""
            names = ("503", "reset", "delay", *(("cut", "damage") if verb == "GET" else ()))
            return self.hits.setdefault((verb, path), names[len(self.hits) % len(names)])


class FaultyStore(ThreadingHTTPServer):
    """Forwards requests to another server, except for the next ones for objects with a fault.

    Attributes:
      faults: name of the fault by key, see `Fault`.
      times: how often each fault occurs, by key; a missing key: always.
      requests: number of GET requests by key.
      fault: of a verb, in addition to those of keys.
      unreliable: faults of all requests, in addition to the others.
      verbs: number of requests by verb.
      delay_seconds: of the fault `delay`.
    """

    daemon_threads = True

    def __init__(self, port: int, tls: ssl.SSLContext | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self._scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.target = port
        self.faults: dict[str, str] = {}
        self.times: dict[str, int] = {}
        self.requests: dict[str, int] = {}
        self.fault: Fault | None = None
        self.unreliable: Unreliable | None = None
        self.verbs: dict[str, int] = {}
        self.delay_seconds = 0.3
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}"

    def next_fault(self, command: str, path: str) -> str:
        """Returns the fault of this request; empty if it is forwarded."""
        verb, asked = verb_of(command, path), object_path(path)
        with self._lock:
            number = self.verbs[verb] = self.verbs.get(verb, 0) + 1
            if self.fault is not None and self.fault.hit(verb, asked, number):
                return self.fault.name
            if self.unreliable and (name := self.unreliable.fault(verb, asked)):
                return name
            key = path.split("/", 2)[-1]
            return self._fault_of_key(key) if command == "GET" and key else ""

    def _fault_of_key(self, key: str) -> str:
        self.requests[key] = self.requests.get(key, 0) + 1
        left = self.times.get(key, 1)
        if key not in self.faults or left <= 0:
            return ""
        if key in self.times:
            self.times[key] = left - 1
        return self.faults[key]

    def clear(self) -> None:
        """Removes all faults and counts."""
        for values in (self.faults, self.times, self.requests, self.verbs):
            values.clear()
        self.fault = self.unreliable = None


def verb_of(command: str, path: str) -> str:
    """Returns the verb of a request, one of `VERBS` or the method, by its path without query."""
    parts = path.strip("/").split("/")
    google = "storage" in parts[:2]
    if command == "POST" and parts[0] == "upload":
        return "PUT"
    if command != "GET":
        return command
    if google and parts[0] != "download":
        return "LIST" if parts[-1] == "o" else "HEAD"
    return "LIST" if not google and len(parts) == 1 else "GET"


def object_path(path: str) -> str:
    """Returns the path of a request, unquoted: for an object's content, `/` bucket `/` key.

    Google's stores give it by two paths, of which this is that of the XML API.
    """
    path = unquote(path)
    bucket, _, key = path.removeprefix(_GOOGLE_CONTENT).partition("/o/")
    return f"/{bucket}/{key}" if path.startswith(_GOOGLE_CONTENT) else path


@contextmanager
def faulty_store(port: int, tls: ssl.SSLContext | None = None) -> Iterator[FaultyStore]:
    """Yields a running proxy in front of the server at a local port.

    Args:
      port: of the server.
      tls: with the proxy's certificate; None: it speaks plain HTTP.
    """
    with FaultyStore(port, tls) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        yield store
        store.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyStore

    def _answer(self) -> None:
        fault = self.server.next_fault(self.command, self.path.split("?")[0])
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "lost":
            self._forwarded(body)
        if fault in ("reset", "lost"):
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
            time.sleep(self.server.delay_seconds)
        self._forward(body, fault)

    def _forward(self, body: bytes, fault: str) -> None:
        answer, content = self._forwarded(body)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.end_headers()
        if fault == "damage":
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
        self.close_connection = fault == "cut"

    def _forwarded(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.target)) as connection:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            return answer, answer.read()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names of the library

    def log_message(self, *_: object) -> None:
        """Logs nothing."""
