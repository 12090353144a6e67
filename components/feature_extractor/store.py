"""Where features are kept for good: by backbone, then by image.

A store is a folder of parts. A part is `NAME.npy`, float16 (n, ...), which is mapped into
memory, and `NAME.ids`, the images' identities, a line each, written last: a part without it,
or with another number of rows, was cut off and doesn't count. A part's name is a digest of its
identities, so work that is done twice leaves one part. Many runs may use a store at once: every
file appears whole or not at all.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from components.whole_file import whole_file, write_text


class FeatureStore:
    """The features that one backbone gave so far."""

    def __init__(self, folder: Path):
        """Opens the store, or names one that does not exist yet.

        Args:
          folder: local or mounted, of one backbone alone.
        """
        self.folder = folder

    def add(self, image_ids: Sequence[str], features: np.ndarray) -> None:
        """Keeps the features of some images; readers see all of them or none.

        Args:
          image_ids: identities.
          features: float16 (n, ...), in their order.
        """
        text = "".join(f"{image_id}\n" for image_id in image_ids)
        part = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"
        with whole_file(part) as hidden:
            np.save(hidden, features)
        write_text(part.with_suffix(".ids"), text)

    def image_ids(self) -> set[str]:
        """The identities of all images whose features are here."""
        return {image_id for _, image_ids in self._parts() for image_id in image_ids}

    def count(self) -> int:
        """How many features are here."""
        return len(self.image_ids())

    def reader(self) -> "FeatureReader":
        """Access to what is here now."""
        return FeatureReader(self._parts())

    def _parts(self) -> Iterable[tuple[Path, list[str]]]:
        for listing in sorted(self.folder.glob("[!.]*.ids")):
            lines = listing.read_text(encoding="utf-8").splitlines()
            part = listing.with_suffix(".npy")
            if _rows(part) == len(lines):
                yield part, lines


def _rows(part: Path) -> int | None:
    """How many rows a part holds; None where it is missing or cut short."""
    try:
        return len(np.load(part, mmap_mode="r"))
    except (OSError, ValueError):
        return None


class FeatureReader:
    """Looks up features by image; they stay on disk until they are asked for."""

    def __init__(self, parts: Iterable[tuple[Path, list[str]]]):
        """Reads the identities of all parts."""
        self._rows: list[np.ndarray] = []
        self._places: dict[str, tuple[int, int]] = {}
        for number, (path, image_ids) in enumerate(parts):
            self._rows.append(np.load(path, mmap_mode="r"))
            self._places.update({own: (number, row) for row, own in enumerate(image_ids)})

    def __getitem__(self, image_id: str) -> np.ndarray:
        """Features of one image, float16.

        Raises:
          KeyError: they are not here.
        """
        part, row = self._places[image_id]
        return self._rows[part][row]
