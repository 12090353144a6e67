"""Features of photographs by a frozen Xception, for benchmarks that need no pipeline."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BATCH = 32


def listed(photos: Path) -> list[str]:
    """Returns the photographs of a folder with one folder per class, as sorted CLASS/FILE."""
    files = (path for folder in photos.iterdir() if folder.is_dir() for path in folder.iterdir())
    return sorted(path.relative_to(photos).as_posix() for path in files)


def read(
    photos: Path, uris: Sequence[str], *, weights: str, image_size: int, kept: Path | None
) -> tuple[NDArray[np.float32], float | None]:
    """Returns the pooled features of photographs, and the seconds if they were computed.

    Args:
      photos: folder of the photographs.
      uris: the photographs, as `listed`.
      weights: `imagenet`, or the path of a weights file of Xception.
      image_size: side of the images in pixels.
      kept: an `.npz` file that keeps the features; None: they are not kept.

    Raises:
      ValueError: the file has features of other photographs.
    """
    if kept and kept.exists():
        with np.load(kept) as found:
            if found["uris"].tolist() != list(uris):
                raise ValueError(
                    f"--features must be of the same photographs; delete the file. "
                    f"Received: {kept}, of {len(found['uris']):,} photographs"
                )
            return found["values"].astype(np.float32), None
    started = time.perf_counter()
    values = _computed([photos / uri for uri in uris], weights, image_size)
    seconds = round(time.perf_counter() - started, 1)
    if kept:
        np.savez(kept, uris=list(uris), values=values)
    return values.astype(np.float32), seconds


def _computed(paths: Sequence[Path], weights: str, image_size: int) -> NDArray[np.float16]:
    import tensorflow as tf

    from components.feature_extractor.backbone import Backbone
    from components.feature_extractor.inference import FeatureModel

    backbone = Backbone(
        model="xception",
        weights=weights,
        pooled=True,
        image_size=image_size,
        input_scale="-1..1",
    )
    model = FeatureModel(backbone)
    with tempfile.TemporaryDirectory() as folder:
        body = str(Path(folder) / "body.weights.h5")
        backbone.build().save_weights(body)
        model.load_weights(body)
    batches = [paths[first : first + _BATCH] for first in range(0, len(paths), _BATCH)]
    return np.concatenate(
        [model(tf.constant([path.read_bytes() for path in batch])).numpy() for batch in batches]
    )
