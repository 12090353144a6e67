"""An HTTP proxy on localhost that forwards every request to one server."""

import base64
import contextlib
import http.client
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Proxy:
    """The proxy, in background threads; a context manager.

    Attributes:
      url: its own URL.
      hosts: the hosts of the requests that it received.
    """

    def __init__(self, server: str, *, user: str | None = None) -> None:
        """Makes a proxy.

        Args:
          server: URL of the server that receives all requests.
          user: `user:password` that the proxy requires; None for no authentication.
        """
        self.hosts: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, server, user))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def _handler(proxy: Proxy, server: str, user: str | None) -> type[BaseHTTPRequestHandler]:
    address = urllib.parse.urlsplit(server)
    required = user and f"Basic {base64.b64encode(user.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_CONNECT(self) -> None:
            proxy.hosts.append(self.path.partition(":")[0])
            if not self._is_authorized():
                return
            with socket.create_connection((address.hostname, address.port)) as upstream:
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                back = threading.Thread(target=_copy, args=(upstream, self.connection))
                back.start()
                _copy(self.connection, upstream)
                back.join()
            self.close_connection = True

        def _forward(self) -> None:
            requested = urllib.parse.urlsplit(self.path)
            proxy.hosts.append(requested.hostname or "")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not self._is_authorized():
                return
            target = urllib.parse.urlunsplit(("", "", requested.path, requested.query, ""))
            assert address.hostname
            upstream = http.client.HTTPConnection(address.hostname, address.port)
            upstream.request(self.command, target, body, dict(self.headers))
            self._answer(upstream.getresponse())

        do_GET = do_POST = do_DELETE = _forward  # noqa: N815 - as http.server calls them

        def _answer(self, answer: http.client.HTTPResponse) -> None:
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type") or "")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _is_authorized(self) -> bool:
            if required in (None, self.headers.get("Proxy-Authorization")):
                return True
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False

        def log_message(self, *_: Any) -> None:
            """Logs nothing, to keep the output of tests clean."""

    return Handler


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def unused_port() -> Iterator[str]:
    """The URL of a port on this machine on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"
