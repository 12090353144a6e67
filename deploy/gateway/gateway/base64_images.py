"""Images that travel in JSON."""

import base64
import binascii
from typing import Any

from gateway.errors import RequestError, malformed, shown


def decode(text: Any, where: str) -> bytes:
    """The bytes of a base64 string.

    Args:
      text: the string, of the alphabet with `+` and `/`, padded, on one line.
      where: its place in the request, for the error.

    Raises:
      RequestError: 400, where it is no such string.
    """
    if not isinstance(text, str):
        raise malformed(f"{where} must be a base64 string. Received: {shown(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"{where} must be base64 on one line ({error}). Received: {shown(text)}"
        raise malformed(message) from error


def check_count(count: int, max_images: int) -> None:
    """Bounds the images of a request.

    Raises:
      RequestError: 400, where there are none, or too many.
    """
    if not count:
        raise malformed("at least one image is required. Received: none")
    if count > max_images:
        raise RequestError(
            400, "too_many_images", f"at most {max_images} images a request. Received: {count}"
        )
