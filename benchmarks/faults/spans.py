"""The images of the runs, in spans: three, and a fourth that arrives before a retraining."""

import csv
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.sample.dataset import COLUMNS, MANIFEST, make_sample

NAMES = ("1", "2", "3")
"""The spans of every run but a retraining."""

NEXT = "4"
"""The span that has arrived before a retraining."""

PHOTOS = "photos"
"""In the folder of a span: a folder with one of images per class, next to their `MANIFEST`."""

_IMAGES = 330
_DEAL = ("1", "2", "3", "1", "2", NEXT)


def write(folder: Path, later: Path) -> Path:
    """Draws images of 32 pixels; ten cats per dog, 275 of them in the first three spans.

    Args:
      folder: receives the folders of the first three spans.
      later: receives the folder of the next one.

    Returns:
      `folder`.
    """
    drawn = folder.with_name(f"{folder.name}-drawn")
    make_sample(drawn, images=_IMAGES, side=32, random_state=0, workers=1)
    rows = _read(drawn / MANIFEST)
    for name in dict.fromkeys(_DEAL):
        target = (later if name == NEXT else folder) / name
        dealt = [row for at, row in enumerate(rows) if _DEAL[at % len(_DEAL)] == name]
        for row in dealt:
            (target / row["uri"]).parent.mkdir(parents=True, exist_ok=True)
            (drawn / row["uri"]).rename(target / row["uri"])
        _write(target / MANIFEST, dealt)
    shutil.rmtree(drawn)
    return folder


def images(folder: Path, pattern: str = "*/*") -> list[Path]:
    """Returns the images of all spans in a folder, by a pattern of class and name."""
    return sorted(folder.glob(f"*/{PHOTOS}/{pattern}"))


def update_manifests(folder: Path) -> None:
    """Lists the images that each span has now; those that were not listed have no breed."""
    for span in sorted(path for path in folder.iterdir() if path.is_dir()):
        manifest = span / MANIFEST
        known = {row["uri"]: row for row in _read(manifest)} if manifest.exists() else {}
        uris = (path.relative_to(span) for path in sorted(span.glob(f"{PHOTOS}/*/*")))
        found = ({"uri": uri.as_posix(), "label": uri.parent.name} for uri in uris)
        _write(manifest, (known.get(row["uri"], row) for row in found))


def _read(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(manifest: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
