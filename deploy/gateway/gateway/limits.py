"""Limits of one client and of all together: rates, capacities and tokens."""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gateway.errors import RequestError

_MAX_CLIENTS = 10_000


class TokenBuckets:
    """A token bucket for each client: `burst` requests at once, and `rate` a second after."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic):
        """Fills the buckets.

        Args:
          rate: requests a second; 0 for no limit.
          burst: requests that may come at once; at least 1.
          clock: seconds.
        """
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Counts a request.

        Raises:
          RequestError: 429, with the seconds until the next one is taken.
        """
        if not self._rate:
            return
        now = self._clock()
        left, since = self._buckets.pop(client, (float(self._burst), now))
        left = min(self._burst, left + (now - since) * self._rate)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(
                last=False
            )  # the client that asked longest ago; its bucket is nearly always full again
        if left < 1:
            raise RequestError(
                429,
                "rate",
                f"more than {self._rate:g} requests a second",
                retry_after=(1 - left) / self._rate,
            )


class Capacity:
    """A number of things in use at a time, up to a limit."""

    def __init__(self, limit: int, what: str):
        """Sets the limit.

        Args:
          limit: most that may be in use.
          what: what they are and do, such as `requests are in progress`, for the error.
        """
        self.limit, self._what = limit, what
        self.used = 0

    def take(self, number: int) -> None:
        """Takes some into use.

        Raises:
          RequestError: 503, where they are not free.
        """
        if self.used + number > self.limit:
            raise RequestError(
                503, "busy", f"the gateway is busy: {self.limit:,} {self._what}", retry_after=1
            )
        self.used += number

    def give_back(self, number: int) -> None:
        """Frees some."""
        self.used -= number

    @contextmanager
    def share(self, number: int = 0) -> Iterator["Share"]:
        """Takes some for a while; all that is taken through the share is freed at its end.

        Raises:
          RequestError: 503, where they are not free.
        """
        share = Share(self)
        try:
            share.take(number)
            yield share
        finally:
            self.give_back(share.used)


class Share:
    """What one request uses of a capacity."""

    def __init__(self, capacity: Capacity):
        self._capacity = capacity
        self.used = 0

    def take(self, number: int) -> None:
        """Takes some more.

        Raises:
          RequestError: 503, where they are not free; 413, where there will never be so many.
        """
        if self.used + number > self._capacity.limit:
            raise RequestError(
                413,
                "images_too_large",
                f"the images of a request must have at most {self._capacity.limit:,} bytes once "
                "they are read; send fewer, or smaller ones",
            )
        self._capacity.take(number)
        self.used += number


class Tokens:
    """The bearer tokens of which a request must hold one; none at all lets every request in."""

    def __init__(self, tokens: Sequence[str]):
        self._digests = [_digest(token) for token in tokens]

    def client(self, authorization: str, address: str) -> str:
        """Whose request it is, for its rate: that of its token, or else of its address."""
        number = self._number(authorization)
        return f"address {address}" if number is None else f"token {number}"

    def check(self, authorization: str) -> None:
        """Lets a request in.

        Raises:
          RequestError: 401, where tokens are set and it holds none of them.
        """
        if self._digests and self._number(authorization) is None:
            raise RequestError(
                401, "unauthorized", "a valid token is required: Authorization: Bearer <token>"
            )

    def _number(self, authorization: str) -> int | None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        # All are compared, digests of one length: the time taken tells nothing of a token.
        digest = _digest(given.strip())
        matches = [hmac.compare_digest(digest, other) for other in self._digests]
        return matches.index(True) if any(matches) else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
