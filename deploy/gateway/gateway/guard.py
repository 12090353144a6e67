"""Middleware in front of every route: rate limits, tokens, deadline, access log and errors."""

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from math import ceil
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import RequestError
from gateway.limits import TokenBuckets, Tokens
from gateway.metrics import Metrics

# Without token and rate limit, for the cluster's probes and Prometheus.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

_CLIENT_CLOSED = 499  # nginx's code for a client that disconnected before the response

_access = logging.getLogger("gateway.access")
_log = logging.getLogger("gateway")


@dataclass
class Record:
    """Access log entry of a request, without its duration; holds no image data and no token.

    Attributes:
      route: `v1`, `v2` or `raw` for prediction requests, else `other`.
      status: HTTP status code of the response.
      images: number of images.
      version: version of the model that made the predictions.
      reason: reason of the error.
    """

    route: str
    status: int = 0
    images: int | None = None
    version: int | None = None
    reason: str | None = None


class Guard:
    """Admits requests, logs them and returns errors as JSON."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        buckets: TokenBuckets,
        metrics: Metrics,
        timeout: float,
    ):
        self._app, self._tokens, self._buckets = app, tokens, buckets
        self._metrics, self._timeout = metrics, timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        record = scope["record"] = Record(_route(scope["method"], scope["path"]))
        is_open = scope["path"] in OPEN_PATHS

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, send_and_record, is_open)
        finally:
            if not is_open:
                self._log_request(scope, record, time.perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, is_open: bool) -> None:
        record: Record = scope["record"]
        try:
            if not is_open:
                self._admit(Request(scope))
            async with asyncio.timeout(self._timeout):
                await self._app(scope, receive, send)
            return
        except ClientDisconnect:
            record.status = _CLIENT_CLOSED
            return
        except RequestError as caught:
            error = caught
        except TimeoutError:
            error = RequestError(
                504, "request_timeout", f"the request took longer than {self._timeout:g} s"
            )
        except Exception:  # a bug in the gateway: the traceback goes to the log only
            _log.exception("request failed")
            error = RequestError(500, "internal", "the gateway failed; see its log")
        record.reason = error.reason
        self._metrics.count_refusal(error)
        if not record.status:  # otherwise the response has begun, and the connection is closed
            await error_response(error)(scope, receive, send)

    def _admit(self, request: Request) -> None:
        authorization = request.headers.get("authorization", "")
        address = request.client.host if request.client else "unknown"
        self._buckets.take(self._tokens.client_key(authorization, address))
        self._tokens.check(authorization)

    def _log_request(self, scope: Scope, record: Record, seconds: float) -> None:
        if record.route != "other":
            self._metrics.count_request(record.route, record.status, seconds)
        line = {
            "client": scope["client"][0] if scope.get("client") else None,
            "method": scope["method"][:10],
            **vars(record),
            "ms": round(1000 * seconds, 1),
        }
        _access.info(json.dumps({name: value for name, value in line.items() if value is not None}))


def _route(method: str, path: str) -> str:
    if method != "POST":
        return "other"
    if path.startswith("/v1/") and path.endswith(":predict"):
        return "v1"
    if path.startswith("/v2/") and path.endswith("/infer"):
        return "v2"
    return "raw" if path == "/predict" else "other"


def error_response(error: RequestError) -> JSONResponse:
    """Returns an error in the form of both protocols, with the reason in addition."""
    body: dict[str, Any] = {"error": error.message, "reason": error.reason}
    headers = {}
    if error.refused:
        body["refused"] = error.refused
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, ceil(error.retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, error.status, headers)
