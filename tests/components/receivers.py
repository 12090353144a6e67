"""Receivers on localhost: an HTTP server and an e-mail relay, which keep what they get."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class HttpReceiver:
    """An HTTP server in a background thread; a context manager.

    Attributes:
      statuses: those of the next answers; then 200.
      requests: path, headers and body of each request.
    """

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Location", f"{receiver.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Keeps the output of tests clean."""

        return Handler


@dataclass
class Relay:
    """What an e-mail relay gets, and what it offers.

    Attributes:
      port: on which it listens.
      tls: for STARTTLS; None: it does not offer it.
      replies: to commands that it does not accept, by their first word.
      logins: users and passwords.
      encrypted: whether each message came encrypted.
      messages: envelopes and contents.
    """

    port: int = 0
    tls: ssl.SSLContext | None = None
    replies: dict[str, str] = field(default_factory=dict)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    messages: list[tuple[str, list[str], bytes]] = field(default_factory=list)


@contextmanager
def relay(tls: ssl.SSLContext | None = None, *, from_start: bool = False) -> Iterator[Relay]:
    """An SMTP server in a background thread.

    Args:
      tls: for encrypted connections.
      from_start: whether they are encrypted from the start.
    """
    kept = Relay(tls=tls)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            session = _Session(kept, self.request)
            if from_start:
                session.encrypt()
            session.serve()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        kept.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield kept
        server.shutdown()


class _Session:
    """A client's commands: RFC 5321, STARTTLS and AUTH PLAIN."""

    def __init__(self, kept: Relay, connection: Any):
        self._kept, self._connection, self._is_encrypted = kept, connection, False
        self._file = connection.makefile("rb")
        self._sender, self._recipients = "", list[str]()

    def serve(self) -> None:
        self._say("220 localhost")
        while line := self._file.readline():
            word, _, rest = line.decode().strip().partition(" ")
            word = word.upper()
            if word in self._kept.replies:
                self._say(self._kept.replies[word])
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                getattr(self, f"_{word.lower()}", self._unknown)(rest)

    def _ehlo(self, _: str) -> None:
        offers = "STARTTLS" if self._kept.tls and not self._is_encrypted else "AUTH PLAIN"
        self._say(f"250-localhost\r\n250 {offers}")

    def _starttls(self, _: str) -> None:
        self._say("220 go ahead")
        self.encrypt()

    def encrypt(self) -> None:
        assert self._kept.tls is not None
        self._connection = self._kept.tls.wrap_socket(self._connection, server_side=True)
        self._file, self._is_encrypted = self._connection.makefile("rb"), True

    def _auth(self, rest: str) -> None:
        _, user, password = base64.b64decode(rest.removeprefix("PLAIN ")).decode().split("\0")
        self._kept.logins.append((user, password))
        self._say("235 welcome")

    def _mail(self, rest: str) -> None:
        self._sender, self._recipients = rest, []
        self._say("250 ok")

    def _rcpt(self, rest: str) -> None:
        self._recipients.append(rest)
        self._say("250 ok")

    def _data(self, _: str) -> None:
        self._say("354 go ahead")
        lines = list(iter(self._file.readline, b".\r\n"))
        self._kept.encrypted.append(self._is_encrypted)
        self._kept.messages.append((self._sender, self._recipients, b"".join(lines)))
        self._say("250 ok")

    def _rset(self, _: str) -> None:
        self._say("250 ok")

    def _unknown(self, _: str) -> None:
        self._say("502 unknown")

    def _say(self, line: str) -> None:
        self._connection.sendall(f"{line}\r\n".encode())
