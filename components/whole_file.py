"""Writes files atomically, also for readers on other machines."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.in_progress import owned_name, remove_abandoned


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a hidden file to write, which is renamed when the block ends without an error.

    Until then, and after a crash, readers see the previous content. Writers of the same file do
    not interfere with each other: the last one to end wins.

    Args:
      path: local or mounted; its folder is created if it does not exist.

    Yields:
      A path in the same folder, with the same suffix, that no other writer uses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{owned_name()}-{path.name}")
    try:
        yield hidden
        flush(hidden)
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)
    flush(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, atomically."""
    with whole_file(path) as hidden:
        hidden.write_text(text, encoding="utf-8")


def remove_unfinished(path: Path) -> None:
    """Removes the hidden files that killed writers of a file have left next to it."""
    remove_abandoned(path.parent.glob(f".*@*-{glob.escape(path.name)}"))


def flush(path: Path) -> None:
    """Flushes a file, or a folder's entries, to disk, so that no rename precedes its contents."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
