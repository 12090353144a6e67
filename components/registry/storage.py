"""Where the files of a registry are, and how they are written there."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from components.artifact_files import LIST_FILE, Described
from components.registry.record import RECORD_FILE
from components.registry.signing import SIGNATURE_FILE

OWN_FILES = (LIST_FILE, SIGNATURE_FILE, RECORD_FILE)
"""The files that the registry adds to a model, in the order in which they are written."""

ABANDONED_SECONDS = 24 * 60 * 60
"""Age at which what a push has left is removed; no push takes as long."""

Finish = Callable[[int], Mapping[str, bytes]]
"""Returns the contents of a version's own files, by name, in the order of `OWN_FILES`."""


class Storage(Protocol):
    """A local folder, or a prefix in a bucket.

    Methods raise OSError if the storage can't be read or written.

    Attributes:
      root: as it was given.
    """

    root: str

    def uri(self, name: object) -> str:
        """Returns the path or URI of a file or folder of the registry."""

    def read(self, name: str) -> bytes:
        """Returns the content of a small file; raises FileNotFoundError if there is none."""

    def read_state(self) -> tuple[bytes | None, str | None]:
        """Returns the content of `registry.json`, and a tag of it; None without the file."""

    def swap_state(self, content: bytes, tag: str | None) -> bool:
        """Replaces `registry.json`, atomically.

        Args:
          content: the new content.
          tag: of the content that it replaces; None if there is no file.

        Returns:
          Whether it was replaced; False if the file has changed since it was read.
        """

    def locked(self) -> AbstractContextManager[None]:
        """Waits for other processes that change the registry, if they can be waited for."""

    def taken(self) -> set[int]:
        """Returns the numbers that are in use, also by what is not complete."""

    def complete(self) -> set[int]:
        """Returns the numbers of the complete versions."""

    def is_recorded(self, version: int) -> bool:
        """Returns whether a version has a record: those of earlier releases have none."""

    def add(self, source: Path, entries: Iterable[Described], least: int, finish: Finish) -> int:
        """Adds a version, whose record appears last, once all files are there as they were.

        Args:
          source: folder of the model.
          entries: its files.
          least: the smallest number it may have.
          finish: called with the number.

        Returns:
          Its number.
        """

    def add_folder(self, source: Path, name: str, last: str) -> bool:
        """Adds a folder next to the versions, unless there is one.

        Args:
          source: the folder.
          name: its name in the registry.
          last: the file without which the folder is not complete.

        Returns:
          Whether it was added.
        """

    def fetch(self, version: int, folder: Path, check: Callable[[Path], object]) -> Path:
        """Returns a local folder with a version, of which `check` does not raise an error."""

    def remove(self, version: int) -> None:
        """Removes a version; readers see all of it, or none."""

    def clean(self, kept: set[int]) -> None:
        """Removes what pushes that were killed have left, if it is a day old.

        Args:
          kept: the versions of the registry.
        """
