"""Files on disk and behind a scheme: Python's own functions for the first, TFX's fileio for others.

fileio is imported for remote files only: it costs seconds.
"""

import os
from typing import IO, Any


def is_local(path: str) -> bool:
    """Returns whether a path has no scheme."""
    return "://" not in path


def exists(path: str) -> bool:
    """Returns whether a file or folder exists."""
    return os.path.exists(path) if is_local(path) else fileio().exists(path)


def open_file(path: str, mode: str) -> IO[Any]:
    """Opens a file, with UTF-8 for text."""
    if is_local(path):
        return open(path, mode, encoding=None if "b" in mode else "utf-8")
    return fileio().open(path, mode)


def make_folder(path: str) -> None:
    """Creates a folder, if it does not exist."""
    if is_local(path):
        os.makedirs(path, exist_ok=True)
    else:
        fileio().makedirs(path)


def rename(source: str, target: str) -> None:
    """Renames a file, and replaces another one of that name."""
    if is_local(source) and is_local(target):
        os.replace(source, target)
    else:
        fileio().rename(source, target, overwrite=True)


def remove(path: str) -> None:
    """Removes a file."""
    if is_local(path):
        os.remove(path)
    else:
        fileio().remove(path)


def names(folder: str) -> list[str]:
    """Returns the names in a folder."""
    return os.listdir(folder) if is_local(folder) else [*map(str, fileio().listdir(folder))]


def fileio() -> Any:
    """Returns TFX's fileio, for what is not here."""
    from tfx.dsl.io import fileio

    return fileio
