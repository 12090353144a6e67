"""The body of a request, of bounded size, within bounded time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from gateway.errors import RequestError
from gateway.limits import Capacity
from gateway.settings import Settings


@asynccontextmanager
async def held_body(
    request: Request, settings: Settings, held: Capacity
) -> AsyncIterator[bytearray]:
    """Reads a body, and counts its bytes among those that are held until the end.

    Raises:
      RequestError: 413, once it is longer than is taken, of which no more is read; 408, where it
        takes too long; 415, where it is compressed; 503, where no room is left for it.
    """
    _check_head(request, settings.max_body_bytes)
    body = bytearray()
    try:
        await _fill(body, request, settings, held)
        yield body
    finally:
        held.give_back(len(body))


async def _fill(body: bytearray, request: Request, settings: Settings, held: Capacity) -> None:
    try:
        async with asyncio.timeout(settings.body_timeout):
            async for chunk in request.stream():
                _check_length(len(body) + len(chunk), settings.max_body_bytes)
                held.take(len(chunk))
                body += chunk
    except TimeoutError as error:
        raise RequestError(
            408, "body_timeout", f"the body took longer than {settings.body_timeout:g} s"
        ) from error


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
