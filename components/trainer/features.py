"""The input of the trained part of a network, computed once per image and kept on disk.

If the whole network is trained, the rows are its resized pixels; with a frozen body, they are
the body's output, which a FeatureExtractor may have computed before. Either way no image is
decoded twice, for any number of epochs. The rows are in one flat file that is mapped into memory:
if it fits, the page cache holds it; if not, it is read from disk. The file of an interrupted
training is checked once, before the first epoch, and written again if it is damaged.
"""

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components import checked_file
from components.progress import Progress
from components.trainer.data import Split, feature_batches, image_batches
from components.trainer.preprocessing import Preprocessing

_BATCH_SIZE = 32


@dataclass(frozen=True)
class Rows:
    """The trained part's input for every image of a split.

    Attributes:
      values: float32 (n, ...), in the order of the split's records; features from a
        FeatureExtractor may be float16. Of each view by itself: (n, views, d).
      labels: int64 (n,).
      units: int64 (n,), see `Split`; None: each image is a unit of its own.
    """

    values: np.ndarray
    labels: np.ndarray
    units: np.ndarray | None = None

    def take(self, rows: np.ndarray | None) -> "Rows":
        """Returns some of the rows, int64 (m,), without copying them; all if `rows` is None."""
        if rows is None:
            return self
        # Has what trainings use of an array.
        chosen = cast("np.ndarray", ChosenRows(self.values, rows))
        units = None if self.units is None else self.units[rows]
        return Rows(chosen, self.labels[rows], units)


class ChosenRows:
    """Some rows of an array, which are read only when they are requested.

    An index of an array would copy them, also from a file that is mapped into memory.
    """

    def __init__(self, values: np.ndarray, rows: np.ndarray):
        """Chooses rows of `values` (n, ...): int64 (m,)."""
        self._values = values
        self._rows = rows
        self.shape = (len(rows), *values.shape[1:])
        self.dtype = values.dtype
        self.ndim = values.ndim

    def __len__(self) -> int:
        """The number of chosen rows."""
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Reads the rows at `key`, an index, a slice or an array of indices."""
        return np.asarray(self._values[self._rows[key]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Reads all chosen rows."""
        return np.asarray(self[:], dtype)

    def astype(self, dtype: Any, copy: bool = True) -> np.ndarray:
        """Reads all chosen rows, as another type."""
        return self[:].astype(dtype, copy=copy)

    def reshape(self, *shape: int) -> "ChosenRows":
        """Returns the same rows in another shape (m, ...), without reading them."""
        if shape[0] not in (len(self), -1):
            raise ValueError(f"the first of the shape must be {len(self)}. Received: {shape}")
        return ChosenRows(self._values.reshape(len(self._values), *shape[1:]), self._rows)


def compute_rows(
    split: Split,
    body: keras.Model | None,
    preprocessing: Preprocessing,
    *,
    path: Path,
    jit_compile: bool = False,
) -> Rows:
    """Returns the rows of a split, from `path` if it is intact, else computed and written there.

    Args:
      split: the images.
      body: maps images (b, size, size, 3) to rows (b, ...); None keeps the images.
      preprocessing: converts encoded bytes to images.
      path: path of the file; the caller guarantees that it is of the same split, body and
        preprocessing.
      jit_compile: whether XLA compiles the body.
    """
    shape = (len(split.labels), *(preprocessing.shape if body is None else body.output_shape[1:]))

    def compute() -> Iterator[np.ndarray]:
        return _row_batches(split, body, preprocessing, jit_compile=jit_compile)

    return Rows(_mapped(path, np.float32, shape, compute), split.labels, split.units)


def feature_rows(split: Split, *, path: Path, views: int | None = None) -> Rows:
    """Returns the features in the split's records, from `path` if it is intact.

    Args:
      split: split with features instead of images.
      path: path of the file; the caller guarantees that it is of the same split and views.
      views: number of views whose features are read; None: their mean.

    Raises:
      ValueError: the records have no features, or none of so many views.
    """

    def read() -> Iterator[np.ndarray]:
        batches = feature_batches(split, batch_size=_BATCH_SIZE, views=views)
        return (batch.numpy() for batch in batches)

    of_views = () if views is None else (views,)
    shape = (len(split.labels), *of_views, *(split.features_shape or ()))
    return Rows(_mapped(path, split.features_type, shape, read), split.labels, split.units)


def _row_batches(
    split: Split, body: keras.Model | None, preprocessing: Preprocessing, *, jit_compile: bool
) -> Iterator[np.ndarray]:
    run = None
    if body is not None:
        run = tf.function(lambda images: body(images, training=False), jit_compile=jit_compile)
    progress = Progress(f"{split.name} images", total=len(split.labels))
    for images in image_batches(split, preprocessing, batch_size=_BATCH_SIZE):
        rows = images if run is None else run(images)
        # A body in mixed precision returns float16.
        yield tf.cast(rows, tf.float32).numpy()
        progress.advance(len(images))


def _mapped(
    path: Path,
    dtype: npt.DTypeLike,
    shape: tuple[int, ...],
    batches: Callable[[], Iterator[np.ndarray]],
) -> np.ndarray:
    layout = f"{np.dtype(dtype).str} {shape}"
    if not checked_file.is_intact(path, layout):
        # A training has its own folder, so no other process is writing these.
        for left_by_a_crash in path.parent.glob(f".*-{glob.escape(path.name)}"):
            left_by_a_crash.unlink()
        # Written as a stream before it is mapped: a full disk raises OSError here, but in a
        # writable map it would kill the process by a signal.
        with checked_file.written(path, layout) as append:
            for batch in batches():
                append(batch.tobytes())
    return np.memmap(path, dtype, mode="r", shape=shape)


def row_batches(rows: Rows, indices: tf.data.Dataset, *, batch_size: int) -> tf.data.Dataset:
    """Returns batches of (row, label) in the order of `indices`.

    Args:
      rows: the rows.
      indices: int64 scalars.
      batch_size: size of all batches except the last.

    Returns:
      float32 (b, ...) and float32 (b, 1).
    """

    def take(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = rows.values[chosen].astype(np.float32, copy=False)
        return values, rows.labels[chosen, None].astype(np.float32)

    def gather(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values, labels = tf.numpy_function(take, [chosen], (tf.float32, tf.float32))
        values = tf.ensure_shape(values, (None, *rows.values.shape[1:]))
        return values, tf.ensure_shape(labels, (None, 1))

    return indices.batch(batch_size).map(gather).prefetch(tf.data.AUTOTUNE)
