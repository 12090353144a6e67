"""Text of users, data and servers on the terminal, shown as it is and never taken for markup."""

from typing import Any

from rich.console import Console
from rich.text import Text

# What joins letters of Persian or of the Indian scripts, or the parts of one emoji.
_JOINERS = "\u200c\u200d"
_TAB = "\t"


def visible(text: str, keep: str = "") -> str:
    r"""The text with whatever can't be seen, or moves the cursor, written as Python writes it.

    Such as escape sequences of a terminal, which a file name may hold, as `\x1b[2J`; half a
    surrogate pair, by which Python keeps a name that is not UTF-8, as `\udce9`.

    Args:
      text: any.
      keep: characters to leave as they are, such as a newline.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep + _JOINERS else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return repr(character)[1:-1]


def plain(value: object, style: str = "") -> Text:
    """Any value as rich shows it in a table or a line: not parsed, on one line."""
    return Text(visible(str(value)), style=style)


def lines(value: object, style: str = "") -> Text:
    """As `plain`, of a text that may have several lines."""
    return Text(visible(str(value), keep="\n" + _TAB), style=style)


def write(console: Console, text: str, **options: Any) -> None:
    """A text of one or more lines on a console, as it is: not parsed, not wrapped."""
    console.print(lines(text), highlight=False, soft_wrap=True, **options)


def say(text: str) -> None:
    """A line on standard output."""
    write(Console(), text)


def say_aside(text: str) -> None:
    """A line on standard error."""
    write(Console(stderr=True), text)
