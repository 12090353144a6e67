"""Errors about what users and data give, with messages of bounded length.

Imports the standard library only.
"""

MAX_LENGTH = 8000
"""Characters of an error message."""


def cut(text: str, length: int) -> str:
    """Returns the text, without its middle if it is too long.

    Args:
      text: any text.
      length: characters that are kept.
    """
    if len(text) <= length:
        return text
    left_out = len(text) - length
    start, end = text[: length - length // 2], text[len(text) - length // 2 :]
    return f"{start} … ({left_out:,} characters left out) … {end}"


class InputError(ValueError):
    """Something that a user or the data gave can't be used; a long message is cut."""

    def __init__(self, message: str):
        super().__init__(cut(message, MAX_LENGTH))
