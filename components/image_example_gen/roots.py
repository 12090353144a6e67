"""The folders and buckets that a data source may lead to: its own, and those in `data.roots`.

Imports the standard library only. Symbolic links are resolved; nothing is opened.
"""

import functools
import os
import posixpath
from collections.abc import Iterable, Sequence

from components.image_example_gen import files
from components.image_example_gen.manifest import SourceError


class Roots:
    """The folders and buckets that manifests and symbolic links may lead to."""

    def __init__(self, source: str, allowed: Iterable[str] = ()):
        """Resolves the roots.

        Args:
          source: folder or URL of the source, which is always allowed.
          allowed: more folders or URLs, such as `s3://bucket/photos`.
        """
        self.names = [source, *allowed]
        self._roots = tuple(_resolved(root) for root in self.names)
        self._real_folder = functools.lru_cache(maxsize=4096)(os.path.realpath)

    def contains(self, path: str) -> bool:
        """Returns whether a path, with its symbolic links resolved, is in one of the roots."""
        if files.is_remote(path):
            # Some stores resolve `..` in a key; others take it literally.
            return self._covers(path) and self._covers(_normalized(path))
        try:
            return self._covers(self.real_path(path))
        except ValueError:  # a NUL character or an unpaired surrogate: no file has such a name
            return True

    def real_path(self, path: str) -> str:
        """Returns a local path without symbolic links; a URL unchanged."""
        if files.is_remote(path):
            return path
        folder, name = os.path.split(path)
        real = os.path.join(self._real_folder(folder), name)
        return os.path.realpath(real) if os.path.islink(real) else real

    def check_link(self, path: str) -> None:
        """Refuses a symbolic link that leads out of the roots.

        Raises:
          SourceError: the message names the link and where it leads.
        """
        if not self.contains(path):
            raise SourceError(
                "a link leads out of the source; remove it, or add its target's folder to "
                f"data.roots. Received: {path!r}, which leads to {self.real_path(path)!r}"
            )

    def _covers(self, path: str) -> bool:
        return any(path == root or path.startswith(_below(root)) for root in self._roots)


def outside_text(roots: Roots, paths: Sequence[str]) -> str:
    """Returns a description of the first path outside of the roots: resolved, with the roots."""
    first = next(path for path in paths if not roots.contains(path))
    return f"{roots.real_path(first)!r} is in none of {roots.names}"


def _resolved(root: str) -> str:
    return root.rstrip("/") if files.is_remote(root) else os.path.realpath(root)


def _below(root: str) -> str:
    return root if root.endswith("/") else f"{root}/"


def _normalized(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{posixpath.normpath(rest)}"
