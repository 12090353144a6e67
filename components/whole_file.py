"""A file that appears under its name whole, or not at all, for readers on other machines too."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a hidden file to write; it takes its name when the block ends without an error.

    Until then readers find what was there before, and after a crash too. Writers of the same
    file do not disturb each other: the last one to end stands.

    Args:
      path: local or mounted; its folder is made.

    Yields:
      A path in the same folder, with the same ending, that no other writer uses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        yield hidden
        flush(hidden)
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)
    flush(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with whole_file(path) as hidden:
        hidden.write_text(text, encoding="utf-8")


def flush(path: Path) -> None:
    """Brings a file, or the names in a folder, to the disk: a rename must not outrun contents."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
