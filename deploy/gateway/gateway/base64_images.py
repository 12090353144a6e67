"""Images as base64 strings in JSON."""

import base64
import binascii
from typing import Any

from gateway.errors import RequestError, malformed, shortened


def decode(text: Any, field: str) -> bytes:
    """Decodes a base64 string.

    Args:
      text: the string, in the alphabet with `+` and `/`, padded, on one line.
      field: its path in the request, for the error message.

    Raises:
      RequestError: 400, if `text` is not such a string.
    """
    if not isinstance(text, str):
        raise malformed(f"{field} must be a base64 string. Received: {shortened(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"{field} must be base64 on one line ({error}). Received: {shortened(text)}"
        raise malformed(message) from error


def check_count(count: int, max_images: int) -> None:
    """Checks the number of images in a request.

    Raises:
      RequestError: 400, if there are none, or too many.
    """
    if not count:
        raise malformed("at least one image is required. Received: none")
    if count > max_images:
        raise RequestError(
            400, "too_many_images", f"at most {max_images} images per request. Received: {count}"
        )
