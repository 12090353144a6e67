"""Posts to a URL that is a secret: it is in no error and no log."""

from collections.abc import Mapping
from http import HTTPStatus

import requests
from requests import exceptions

from components.notifications.errors import DeliveryError

_REDIRECTS = range(300, 400)


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> None:
    """Posts once. Redirects are not followed, which would send the message elsewhere.

    Args:
      url: with http or https.
      body: the content.
      headers: its type, and others.
      timeout: seconds to connect, and then to wait for the answer.

    Raises:
      DeliveryError: the server can't be reached or does not accept the message.
    """
    try:
        # The body of the answer is not read; `auth` keeps passwords of ~/.netrc from being sent.
        with requests.post(
            url,
            data=body,
            headers=dict(headers),
            timeout=timeout,
            allow_redirects=False,
            stream=True,
            auth=lambda request: request,
        ) as answer:
            status = answer.status_code
    except (exceptions.RequestException, ValueError) as error:
        # Its text contains the URL, and so does its cause.
        raise _described(error, timeout) from None
    _check(status)


def _check(status: int) -> None:
    if status in _REDIRECTS:
        raise DeliveryError(f"its server redirects (status {status}), which is not followed")
    if status >= HTTPStatus.BAD_REQUEST:
        is_busy = status == HTTPStatus.TOO_MANY_REQUESTS
        may_pass = is_busy or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise DeliveryError(f"its server answered with status {status}", may_pass=may_pass)


def _described(error: Exception, timeout: float) -> DeliveryError:
    match error:
        case exceptions.InvalidURL() | exceptions.MissingSchema() | exceptions.InvalidSchema():
            return DeliveryError("its URL must begin with http:// or https:// and name a server")
        case exceptions.SSLError():
            return DeliveryError("its server's certificate can't be verified")
        case exceptions.Timeout():
            return DeliveryError(
                f"its server did not answer within {timeout:g} seconds", may_pass=True
            )
        case exceptions.ProxyError():
            return DeliveryError("the proxy can't be reached", may_pass=True)
        case exceptions.ConnectionError():
            return DeliveryError("its server can't be reached", may_pass=True)
    return DeliveryError(f"the request failed ({type(error).__name__})")
