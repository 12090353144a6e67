"""Shows on a sample that a model predicts the same from an image as from its stored features.

A frozen backbone's features are computed once per image, so the model need not run it again; but
what is reported and released is the model with its backbone, on images. So of each file of a split
some images are predicted from the image too: the lowest and the highest score, a few at random, and
all whose decision depends on less than the tolerance. Their predictions are those that are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components import example_files

if TYPE_CHECKING:
    import tensorflow as tf

SAMPLE = 32
"""Images of a split that are predicted from the image too."""

TOLERANCE = 1e-3
"""Largest difference of two scores of an image that rounding can explain.

On a CPU the scores differ by less than 1e-6; on a GPU whose convolutions have the 10 bits of
TensorFloat-32 by more.
"""

_BATCH = 32
_SEED = 0


class UnequalScoresError(RuntimeError):
    """A model predicts another score from an image than from its features."""


def sample(scores: ArrayLike, near: ArrayLike, *, size: int, index: int = 0) -> NDArray[np.intp]:
    """Chooses the images of a file to predict from the image too.

    Args:
      scores: (n,), from the features.
      near: (n,), true where the tolerance may change the decision: all of these are chosen.
      size: the number of others, of which the second and third are the highest and lowest score.
      index: number of the file in the split, part of the seed.

    Returns:
      sorted indices, each once.
    """
    scores, near = np.asarray(scores), np.asarray(near, bool)
    order = np.random.default_rng([_SEED, index]).permutation(len(scores))
    if len(scores):
        order = np.concatenate([order[:1], [scores.argmax(), scores.argmin()], order[1:]])
    _, first = np.unique(order, return_index=True)
    distinct = order[np.sort(first)].astype(np.intp)
    return np.unique(np.concatenate([distinct[:size], np.flatnonzero(near)]))


def size_per_file(files: int) -> int:
    """Returns the size of the sample of each of `files` files."""
    return -(-SAMPLE // max(files, 1))


def records_at(path: str, indices: NDArray[np.intp]) -> Iterator["tf.Tensor"]:
    """Yields records of a file of tf.Examples, string (b,), by their sorted indices.

    Raises:
      IndexError: the file has fewer records.
    """
    import tensorflow as tf

    start = 0
    for batch in example_files.record_batches(path, _BATCH):
        inside = indices[(indices >= start) & (indices < start + len(batch))] - start
        if inside.size:
            yield tf.gather(batch, inside)
        start += len(batch)
    if indices.size and indices[-1] >= start:
        raise IndexError(f"record {indices[-1]} is requested of {path}, which has {start}")


def are_equal(from_features: ArrayLike, from_images: ArrayLike) -> bool:
    """Returns whether scores (n,) of the same images differ by rounding only."""
    return np.allclose(from_features, from_images, rtol=0, atol=TOLERANCE, equal_nan=True)


def check(
    images: Sequence[str], from_features: ArrayLike, from_images: ArrayLike, *, what: str
) -> None:
    """Compares the scores of some images.

    Args:
      images: their names.
      from_features: (n,), scores from 0 to 1.
      from_images: likewise.
      what: the model, for the message.

    Raises:
      UnequalScoresError: two scores of an image differ by more than `TOLERANCE`.
    """
    if are_equal(from_features, from_images):
        return
    kept, exact = np.asarray(from_features, np.float64), np.asarray(from_images, np.float64)
    # NaN first, which equals nothing.
    worst = int(np.argmax(np.nan_to_num(np.abs(kept - exact), nan=np.inf)))
    raise UnequalScoresError(
        f"{what} must give the same score for an image as for its stored features, up to "
        f"{TOLERANCE:g}. Received: {kept[worst]:.6g} for the features and {exact[worst]:.6g} for "
        f"image {images[worst]}. Delete the folder 'features' of the output folder, run again with "
        "--no-cache, and report this if it does not help"
    )


def replaced(
    outputs: Mapping[str, NDArray], indices: NDArray[np.intp], exact: Mapping[str, NDArray]
) -> dict[str, NDArray]:
    """Returns the outputs (n,) by name, with those at the indices replaced by the exact ones."""
    found = {name: np.array(values) for name, values in outputs.items()}
    for name, values in found.items():
        values[indices] = exact[name]
    return found
