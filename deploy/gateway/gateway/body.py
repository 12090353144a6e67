"""Reads request bodies within limits of size and time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from gateway.errors import RequestError
from gateway.limits import Capacity, Share
from gateway.settings import Settings


class BodyReader:
    """Reads request bodies, a limited number at a time.

    A body that is still arriving does not count as a request in progress, so that clients that
    send slowly, or nothing at all, do not block others.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._arriving = Capacity(settings.max_bodies_arriving, "bodies arriving")
        self._memory = Capacity(settings.max_bytes_in_flight, "bytes of bodies in memory")

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """Reads a body; its bytes count against the limit until the context closes.

        Raises:
          RequestError: 413, as soon as it exceeds the limit, and the rest is not read; 408, if it
            takes too long; 415, if it is compressed; 503, if no memory is left for it.
        """
        _check_head(request, self._settings.max_body_bytes)
        with self._memory.share() as share:
            with self._arriving.share(1):
                body = await self._receive(request, share)
            yield body

    async def _receive(self, request: Request, share: Share) -> bytearray:
        limit, seconds = self._settings.max_body_bytes, self._settings.body_timeout
        body = bytearray()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    _check_length(len(body) + len(chunk), limit)
                    share.acquire(len(chunk))
                    body += chunk
        except TimeoutError as error:
            message = f"the body took longer than {seconds:g} s"
            raise RequestError(408, "body_timeout", message) from error
        return body


def _check_head(request: Request, limit: int) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise RequestError(
            415, "compressed", f"the body must not be compressed. Received: {encoding[:60]!r}"
        )
    _check_length(int(request.headers.get("content-length", 0)), limit)


def _check_length(length: int, limit: int) -> None:
    if length > limit:
        raise RequestError(413, "body_too_large", f"the body must have at most {limit:,} bytes")
