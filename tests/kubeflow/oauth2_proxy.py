"""A gateway on localhost that lets users in as oauth2-proxy and Dex do in front of Kubeflow.

It knows the sessions of a cookie and of bearer tokens, and tells the API who the user is in a
header, which it takes from no request. What it answers to others was read in oauth2-proxy's and
Kubeflow's manifests: a redirect to the login page (also that of oidc-authservice), a page to sign
in on, or 401 for paths of an API (`api_routes`).
"""

import http.client
import threading
import urllib.parse
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kfp_users import USER_HEADER

COOKIE = "oauth2_proxy_kubeflow"
REDIRECT, PAGE, SIGN_IN, API = "redirect", "page", "sign-in", "api"
_HTML = "text/html; charset=utf-8"


class Gateway:
    """The gateway, in background threads; a context manager.

    Attributes:
      url: its own URL.
      sessions: user by the value of the cookie or the token.
      answer: what others get: REDIRECT, PAGE, SIGN_IN or API.
      login_url: where a redirect leads.
      refused: the number of requests that it did not let in.
    """

    def __init__(self, server: str, sessions: dict[str, str]) -> None:
        """Makes a gateway.

        Args:
          server: URL of the API.
          sessions: user by the value of the cookie or the token.
        """
        self.sessions = sessions
        self.answer = REDIRECT
        self.login_url = "/dex/auth?client_id=kubeflow&state=secret-of-the-session"
        self.refused = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, server))
        self.url = f"http://localhost:{self._http.server_address[1]}"

    def __enter__(self) -> "Gateway":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def user(self, headers: Any) -> str | None:
        """The user of a request; None if it is of no session."""
        cookies = SimpleCookie(headers.get("Cookie", ""))
        cookie = cookies[COOKIE].value if COOKIE in cookies else ""
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        return self.sessions.get(cookie) or self.sessions.get(token)


def _handler(gateway: Gateway, server: str) -> type[BaseHTTPRequestHandler]:
    address = urllib.parse.urlsplit(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            user = gateway.user(self.headers)
            if user is None:
                gateway.refused += 1
                self._refuse()
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() != USER_HEADER}
            assert address.hostname
            upstream = http.client.HTTPConnection(address.hostname, address.port)
            upstream.request(self.command, self.path, body, {**headers, USER_HEADER: user})
            answer = upstream.getresponse()
            self._answer(answer.status, answer.read(), answer.getheader("Content-Type") or "")

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - as http.server calls them

        def _refuse(self) -> None:
            if gateway.answer == REDIRECT:
                self._answer(302, b'<a href="/dex/auth">Found</a>', _HTML, gateway.login_url)
            elif gateway.answer == API:
                self._answer(401, b"Unauthorized", "text/plain")
            else:
                status = 200 if gateway.answer == PAGE else 403
                self._answer(status, b"<html><title>Sign In</title></html>", _HTML)

        def _answer(self, status: int, body: bytes, kind: str, location: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Logs nothing, to keep the output of tests clean."""

    return Handler
