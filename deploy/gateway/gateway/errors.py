"""Errors that are sent to clients, each with an HTTP status and a reason for the metrics."""

from collections.abc import Mapping, Sequence
from reprlib import Repr
from typing import Any

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxlevel = 3


class RequestError(Exception):
    """Error response to a request.

    Attributes:
      status: HTTP status code.
      reason: one word, the label of the metrics.
      message: text for the client.
      retry_after: seconds until the client may retry; None if a retry would not help.
      refused: index, reason and detail of each refused image.
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
    """Creates the error for a request that does not follow its protocol."""
    return RequestError(400, "malformed", message)


def shortened(value: object) -> str:
    """Returns a value for an error message: on one line, with long parts cut."""
    return _SHORT.repr(value)
