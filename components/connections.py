"""Connections to a server by HTTP, which are used again, for requests that need no more than that.

The clients of object stores spend most of their CPU time on what a plain request does not need.
"""

import functools
import http.client
import select
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

# An answer that says that the request itself is wrong, not the object or the moment.
_REFUSALS = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    | {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT}
)


class Answer(NamedTuple):
    """A complete answer.

    Attributes:
      status: of HTTP.
      headers: by any spelling of their names.
      content: the body.
    """

    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def is_object(self) -> bool:
        """Whether the content is what was asked for."""
        return self.status == HTTPStatus.OK

    @property
    def is_refusal(self) -> bool:
        """Whether the same kind of request is refused for any object."""
        return self.status in _REFUSALS


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
        self._new: Callable[[], http.client.HTTPConnection]
        self._new = functools.partial(http.client.HTTPConnection, url.netloc, timeout=timeout)
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=authorities)
            self._new = functools.partial(
                http.client.HTTPSConnection, url.netloc, timeout=timeout, context=context
            )
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._kept = kept

    def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Returns the answer to a GET request.

        Args:
          path: quoted, with the query.
          headers: of the request.

        Raises:
          OSError: the server does not answer.
          HTTPException: the answer is incomplete.
        """
        connection = self._taken()
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close or len(self._idle) >= self._kept:
            connection.close()
        else:
            self._idle.append(connection)
        return Answer(answer.status, answer.headers, content)

    def _taken(self) -> http.client.HTTPConnection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._new()
            if not _has_ended(connection):
                return connection
            connection.close()


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Returns whether the server has closed a connection on which nothing is expected."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
