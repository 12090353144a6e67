"""Errors that answer a request, each with its HTTP status and a reason to count it by."""

from collections.abc import Mapping, Sequence
from reprlib import Repr
from typing import Any

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxlevel = 3


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
      status: of HTTP.
      reason: one word, by which metrics count.
      message: for the one who sent the request.
      retry_after: seconds after which it may be sent again; None where that would not help.
      refused: of each refused image its index, reason and detail.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        retry_after: float | None = None,
        refused: Sequence[Mapping[str, Any]] = (),
    ):
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.refused = list(refused)


def malformed(message: str) -> RequestError:
    """The error of a request that does not follow its protocol."""
    return RequestError(400, "malformed", message)


def shown(value: object) -> str:
    """A value as an error message shows it: its parts cut short, on one line."""
    return _SHORT.repr(value)
