"""Prints text from users, data and servers literally, never as markup."""

from typing import Any

from rich.console import Console
from rich.text import Text

# Zero-width characters that join letters of Persian or Indic scripts, or parts of an emoji.
_JOINERS = "\u200c\u200d"
_TAB = "\t"


def visible(text: str, keep: str = "") -> str:
    r"""Returns the text with unprintable characters escaped as in Python.

    For example, a terminal's escape sequence in a file name becomes `\x1b[2J`, and a lone
    surrogate, by which Python represents a byte that is not UTF-8, becomes `\udce9`.

    Args:
      text: any text.
      keep: characters that are not escaped, such as a newline.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep + _JOINERS else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return repr(character)[1:-1]


def plain(value: object, style: str = "") -> Text:
    """A value as rich Text, not parsed as markup, on one line."""
    return Text(visible(str(value)), style=style)


def lines(value: object, style: str = "") -> Text:
    """Like `plain`, but newlines and tabs are kept."""
    return Text(visible(str(value), keep="\n" + _TAB), style=style)


def write(console: Console, text: str, **options: Any) -> None:
    """Prints text of one or more lines on a console, not parsed as markup and not wrapped."""
    console.print(lines(text), highlight=False, soft_wrap=True, **options)


def print_line(text: str) -> None:
    """Prints a line on standard output."""
    write(Console(), text)


def print_note(text: str) -> None:
    """Prints a line on standard error."""
    write(Console(stderr=True), text)
