"""Features of photographs by a frozen backbone, for benchmarks that need no pipeline."""

import dataclasses
import hashlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.feature_extractor.backbone import Backbone

_BATCH = 32


def listed(photos: Path) -> list[str]:
    """Returns the photographs of a folder with one folder per class, as sorted CLASS/FILE."""
    files = (path for folder in photos.iterdir() if folder.is_dir() for path in folder.iterdir())
    return sorted(path.relative_to(photos).as_posix() for path in files)


def read(
    photos: Path, uris: Sequence[str], backbone: Backbone, *, kept: Path | None
) -> tuple[NDArray[np.float32], float | None]:
    """Returns the pooled features of each view, and the seconds if any were computed.

    Args:
      photos: folder of the photographs.
      uris: the photographs, as `listed`.
      backbone: the frozen network.
      kept: folder that keeps the features of each view, one file each; None: they are not kept.

    Returns:
      (n, views, d).

    Raises:
      ValueError: a file has features of other photographs.
    """
    started = time.perf_counter()
    views = [_of_view(photos, uris, view, kept) for view in backbone.each_view]
    seconds = round(time.perf_counter() - started, 1)
    computed = any(new for _, new in views)
    return np.stack([values for values, _ in views], axis=1), seconds if computed else None


def _of_view(
    photos: Path, uris: Sequence[str], view: Backbone, kept: Path | None
) -> tuple[NDArray[np.float32], bool]:
    """Returns the features of one view, and whether they were computed."""
    file = kept / file_name(view) if kept else None
    if file and file.exists():
        with np.load(file) as found:
            if found["uris"].tolist() != list(uris):
                raise ValueError(
                    f"--features must be of the same photographs; delete the file. "
                    f"Received: {file}, of {len(found['uris']):,} photographs"
                )
            return found["values"], False
    values = _computed([photos / uri for uri in uris], view)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, uris=list(uris), values=values)
    return values, True


def file_name(view: Backbone) -> str:
    """Returns the name of the file that keeps the features of a view."""
    digest = hashlib.sha256(repr(dataclasses.astuple(view)).encode()).hexdigest()[:16]
    return f"{view.views[0]}-{view.image_size}-{digest}.npz"


def _computed(paths: Sequence[Path], view: Backbone) -> NDArray[np.float32]:
    import tensorflow as tf

    from components.feature_extractor.inference import FeatureModel

    model = FeatureModel(view)
    with tempfile.TemporaryDirectory() as folder:
        body = str(Path(folder) / "body.weights.h5")
        view.build().save_weights(body)
        model.load_weights(body)
    batches = [paths[first : first + _BATCH] for first in range(0, len(paths), _BATCH)]
    return np.concatenate(
        [
            model.of_view(0, model.pixels(tf.constant([path.read_bytes() for path in batch])))
            for batch in batches
        ]
    ).astype(np.float32)
