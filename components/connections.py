"""Connections to a server by HTTP, which are used again, for requests that need no more than that.

The clients of object stores, and Python's own of HTTP, spend most of their CPU time on what a plain
request and a plain answer do not need.
"""

import socket
import ssl
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from select import POLLIN, poll
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_RECEIVED_AT_ONCE = 1 << 18
_MOST_HEADER_BYTES = 1 << 16
_END = b"\r\n\r\n"

# An answer that says that the request itself is wrong, not the object or the moment.
_REFUSALS = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    | {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT}
)


class Answer(NamedTuple):
    """An answer.

    Attributes:
      status: of HTTP.
      headers: by their names in lower case; several of a name are separated by a comma.
      content: the body; None if its length is not given.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes | None

    @property
    def is_refusal(self) -> bool:
        """Whether the same kind of request is refused for any object."""
        return self.status in _REFUSALS

    @property
    def found(self) -> bytes | None:
        """The content, if it is what was asked for."""
        return self.content if self.status == HTTPStatus.OK else None


class Connections:
    """Connections to a server; safe for use by many threads."""

    def __init__(self, address: str, *, timeout: float, kept: int, authorities: str):
        """Connects when it is asked for something.

        Args:
          address: such as `https://storage.googleapis.com`.
          timeout: of a connection and of each read, in seconds.
          kept: the most connections that stay open while they are not used.
          authorities: file of certificates with which the server is verified.
        """
        url = urlsplit(address)
        self._host = url.hostname or ""
        self._port = url.port or _PORTS[url.scheme]
        is_secure = url.scheme == "https"
        self._tls = ssl.create_default_context(cafile=authorities) if is_secure else None
        self._timeout = timeout
        self._idle: deque[socket.socket] = deque()
        self._kept = kept

    def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Returns the answer to a GET request.

        Args:
          path: quoted, with the query.
          headers: of the request, with `host`.

        Raises:
          OSError: the server does not answer, or not completely.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection = self._taken()
        try:
            connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
            answer, stays_open = _received(connection)
        except BaseException:
            connection.close()
            raise
        if stays_open and len(self._idle) < self._kept:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _taken(self) -> socket.socket:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._new()
            if not _has_ended(connection):
                return connection
            connection.close()

    def _new(self) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), self._timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_hostname=self._host)


def _has_ended(connection: socket.socket) -> bool:
    """Returns whether the server has closed a connection on which nothing is expected."""
    waiting = poll()
    waiting.register(connection, POLLIN)
    return bool(waiting.poll(0))


def _received(connection: socket.socket) -> tuple[Answer, bool]:
    """Returns an answer, and whether the connection can be used again."""
    received = b""
    while (end := received.find(_END)) < 0:
        received += _part(connection)
        if len(received) > _MOST_HEADER_BYTES + _RECEIVED_AT_ONCE:
            raise ConnectionError("the answer has no end of its headers")
    status, headers = _parsed(received[:end].decode("latin-1"))
    length = headers.get("content-length", "")
    if not length.isdecimal() or "transfer-encoding" in headers:
        return Answer(status, headers, None), False
    content = _body(connection, received[end + len(_END) :], int(length))
    return Answer(status, headers, content), headers.get("connection", "").lower() != "close"


def _parsed(head: str) -> tuple[int, dict[str, str]]:
    first, *lines = head.split("\r\n")
    version, _, status = first.partition(" ")
    if version != "HTTP/1.1" or not status[:3].isdecimal():
        raise ConnectionError(f"the answer must be of HTTP/1.1. Received: {first[:99]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return int(status[:3]), headers


def _body(connection: socket.socket, begin: bytes, length: int) -> bytes:
    if len(begin) == length:
        return begin
    parts, missing = [begin], length - len(begin)
    while missing > 0:
        parts.append(_part(connection))
        missing -= len(parts[-1])
    if missing < 0:
        raise ConnectionError("the answer is longer than its length")
    return b"".join(parts)


def _part(connection: socket.socket) -> bytes:
    if part := connection.recv(_RECEIVED_AT_ONCE):
        return part
    raise ConnectionError("the answer is incomplete")
