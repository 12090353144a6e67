"""Limits per client and in total: rates, capacities and bearer tokens."""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gateway.errors import RequestError

_MAX_CLIENTS = 10_000


class TokenBuckets:
    """One token bucket per client: `burst` requests at once, then `rate` per second."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic):
        """Sets the limits; every bucket starts full.

        Args:
          rate: requests per second; 0 for no limit.
          burst: requests at once; at least 1.
          clock: returns the time in seconds.
        """
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Counts a request of a client.

        Raises:
          RequestError: 429, with the seconds until the next request is allowed.
        """
        if not self._rate:
            return
        now = self._clock()
        left, since = self._buckets.pop(client, (float(self._burst), now))
        left = min(self._burst, left + (now - since) * self._rate)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _MAX_CLIENTS:
            # The least recent client: its bucket is nearly always full again.
            self._buckets.popitem(last=False)
        if left < 1:
            raise RequestError(
                429,
                "rate",
                f"more than {self._rate:g} requests per second",
                retry_after=(1 - left) / self._rate,
            )


class Capacity:
    """A counter of units in use, such as requests or bytes, with a limit."""

    def __init__(self, limit: int, units: str):
        """Sets the limit.

        Args:
          limit: maximum number of units in use.
          units: their name for the error message, such as `requests in progress`.
        """
        self.limit, self._units = limit, units
        self.used = 0

    def acquire(self, number: int) -> None:
        """Marks units as used.

        Raises:
          RequestError: 503, if fewer are free.
        """
        if self.used + number > self.limit:
            raise RequestError(
                503,
                "busy",
                f"the gateway is busy (limit: {self.limit:,} {self._units})",
                retry_after=1,
            )
        self.used += number

    def release(self, number: int) -> None:
        """Marks units as free."""
        self.used -= number

    @contextmanager
    def share(self, number: int = 0) -> Iterator["Share"]:
        """Acquires units; everything acquired through the share is released when it closes.

        Raises:
          RequestError: 503, if fewer are free.
        """
        share = Share(self)
        try:
            share.acquire(number)
            yield share
        finally:
            self.release(share.used)


class Share:
    """The part of a capacity that one request uses."""

    def __init__(self, capacity: Capacity):
        self._capacity = capacity
        self.used = 0

    def acquire(self, number: int) -> None:
        """Acquires more units.

        Raises:
          RequestError: 503, if fewer are free; 413, if the request exceeds the whole capacity.
        """
        if self.used + number > self._capacity.limit:
            raise RequestError(
                413,
                "images_too_large",
                f"the images of a request must have at most {self._capacity.limit:,} bytes after "
                "reading; send fewer or smaller images",
            )
        self._capacity.acquire(number)
        self.used += number


class Tokens:
    """The accepted bearer tokens; without any, every request is admitted."""

    def __init__(self, tokens: Sequence[str]):
        self._digests = [_digest(token) for token in tokens]

    def client_key(self, authorization: str, address: str) -> str:
        """Returns the client for the rate limit: its token if valid, else its address."""
        number = self._number(authorization)
        return f"address {address}" if number is None else f"token {number}"

    def check(self, authorization: str) -> None:
        """Checks the token of a request.

        Raises:
          RequestError: 401, if tokens are set and the request has none of them.
        """
        if self._digests and self._number(authorization) is None:
            raise RequestError(
                401, "unauthorized", "a valid token is required: Authorization: Bearer <token>"
            )

    def _number(self, authorization: str) -> int | None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        # Every digest is compared, all of one length, so that the time reveals nothing of a token.
        digest = _digest(given.strip())
        matches = [hmac.compare_digest(digest, other) for other in self._digests]
        return matches.index(True) if any(matches) else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
