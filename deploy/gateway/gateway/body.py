"""Reads the bodies of requests, of bounded size and within bounded time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from gateway.errors import RequestError
from gateway.limits import Capacity, Share
from gateway.settings import Settings


class BodyReader:
    """Reads bodies, of which a number may arrive at a time.

    A body that is still arriving is not counted among the requests in progress, so that slow
    clients, and those that send nothing at all, hold up no others.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._arriving = Capacity(settings.max_bodies_arriving, "bodies are arriving")
        self._held = Capacity(settings.max_bytes_in_flight, "bytes of bodies are held")

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """Reads a body, and counts its bytes among those that are held until the end.

        Raises:
          RequestError: 413, once it is longer than is taken, of which no more is read; 408, where
            it takes too long; 415, where it is compressed; 503, where no room is left for it.
        """
        _check_head(request, self._settings.max_body_bytes)
        with self._held.share() as share:
            with self._arriving.share(1):
                body = await self._arrived(request, share)
            yield body

    async def _arrived(self, request: Request, share: Share) -> bytearray:
        limit, seconds = self._settings.max_body_bytes, self._settings.body_timeout
        body = bytearray()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    _check_length(len(body) + len(chunk), limit)
                    share.take(len(chunk))
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
