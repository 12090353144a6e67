"""Stores features permanently, by backbone and image.

A store is a folder of parts. A part is `NAME.npy`, (n, ...), which is mapped into memory
and ends with a digest, see `components.checked_file`, and `NAME.ids`, the images' identities, one
per line, written last: a part without it, or with another number of rows, is incomplete and
ignored. The name of a part is a digest of its identities, so repeated work leaves one part. Many
runs may use a store at the same time, since every file is written atomically.
"""

import functools
import hashlib
import io
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import numpy as np

from components import checked_file, in_progress
from components.feature_extractor.keys import Keys, as_array
from components.whole_file import write_text

# Each takes a file descriptor, of which a process has a thousand by default.
_OPEN_PARTS = 128


class FeatureStore:
    """The features of one backbone."""

    def __init__(self, folder: Path):
        """Opens the store, which need not exist yet.

        Args:
          folder: local or mounted folder, of one backbone only.
        """
        self.folder = folder
        self._counted: dict[Path, int] = {}

    def add(self, image_ids: Sequence[str], features: np.ndarray) -> None:
        """Adds the features of some images atomically.

        Args:
          image_ids: identities of the images.
          features: float16 or float32 (n, ...), in the same order.
        """
        text = "".join(f"{image_id}\n" for image_id in image_ids)
        part = self.folder / f"{_name(text.encode())}.npy"
        buffer = io.BytesIO()
        np.save(buffer, features)
        with checked_file.written(part) as append:
            append(buffer.getvalue())
        write_text(part.with_suffix(".ids"), text)

    def discard_damaged(self, image_ids: Set[str]) -> None:
        """Removes every damaged part with one of these images, with a warning.

        These parts are read in full, so it is called once, before the features are used. The
        files of writers that were killed are removed, those of other machines after a day.
        """
        for listing in self._listings():
            content = listing.read_bytes()
            if _name(content) != listing.stem:
                checked_file.discard(str(listing))
                continue
            used = not image_ids.isdisjoint(content.decode().splitlines())
            if used and not checked_file.is_intact(listing.with_suffix(".npy")):
                listing.unlink(missing_ok=True)
        in_progress.remove_abandoned(self.folder.glob(".*"))

    def image_ids(self) -> Keys:
        """Returns the identities of all images in the store."""
        return Keys(image_id for _, image_ids in self._parts() for image_id in image_ids)

    def count(self) -> int:
        """Returns how many images were added, which reads only what was added since the last call.

        An image that two runs have added counts twice.
        """
        for listing in self._listings():
            if listing not in self._counted:
                self._counted[listing] = listing.read_bytes().count(b"\n")
        return sum(self._counted.values())

    def reader(self) -> "FeatureReader":
        """Returns access to the current content."""
        return FeatureReader(self._parts())

    def _listings(self) -> list[Path]:
        return sorted(self.folder.glob("[!.]*.ids"))

    def _parts(self) -> Iterable[tuple[Path, list[str]]]:
        for listing in self._listings():
            content = listing.read_bytes()
            part = listing.with_suffix(".npy")
            lines = content.count(b"\n")
            if _name(content) == listing.stem and _rows(part) == lines:
                yield part, content.decode().splitlines()


def _name(listing: bytes) -> str:
    return hashlib.sha256(listing).hexdigest()[:32]


def _rows(part: Path) -> int | None:
    """Returns the number of rows of a part; None if it is missing or truncated."""
    try:
        return len(np.load(part, mmap_mode="r"))
    except (OSError, ValueError):
        return None


class FeatureReader:
    """Looks up features by image; they are read from disk only when requested."""

    def __init__(self, parts: Iterable[tuple[Path, list[str]]]):
        """Reads the identities of all parts."""
        self._paths: list[Path] = []
        keys = [as_array(())]
        for path, image_ids in parts:
            self._paths.append(path)
            keys.append(as_array(image_ids))
        # Where each part starts among the rows of all parts.
        self._starts = np.cumsum([len(each) for each in keys[:-1]])
        together = np.concatenate(keys)
        self._order = np.argsort(together, kind="stable")
        self._sorted = together[self._order]
        self._rows = functools.lru_cache(_OPEN_PARTS)(self._open)

    def __getitem__(self, image_id: str) -> np.ndarray:
        """Returns the features of one image, in their own type.

        Raises:
          KeyError: the image is not in the store.
        """
        (key,) = as_array([image_id])
        at = int(np.searchsorted(self._sorted, key, side="right")) - 1
        if at < 0 or self._sorted[at] != key:
            raise KeyError(image_id)
        row = int(self._order[at])
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._rows(part)[row - self._starts[part]]

    def _open(self, part: int) -> np.ndarray:
        rows: np.ndarray = np.load(self._paths[part], mmap_mode="r")
        return rows


class MeanReader:
    """Looks up the mean of an image's features in several stores."""

    def __init__(self, readers: Sequence[FeatureReader]):
        """Averages what the readers give, at least one."""
        self._readers = readers

    def __getitem__(self, image_id: str) -> np.ndarray:
        """Returns the mean, in the features' own type.

        Raises:
          KeyError: the image is not in all of the stores.
        """
        views = self.each(image_id)
        if len(views) == 1:
            return views[0]
        return np.mean(views, axis=0, dtype=np.float32).astype(views.dtype)

    def each(self, image_id: str) -> np.ndarray:
        """Returns the features in each of the stores, (stores, ...), in their own type.

        Raises:
          KeyError: the image is not in all of the stores.
        """
        return np.stack([reader[image_id] for reader in self._readers])
