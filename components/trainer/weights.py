"""The weights of Xception as a user names them. Imports neither TensorFlow nor TFX."""

import functools
import hashlib
import os

NAMED = ("imagenet", "none")
"""Weights that are no file."""

WEIGHTS_HELP = (
    "give 'imagenet', 'none', or the path of what "
    "keras.applications.Xception(include_top=False).save_weights('NAME.weights.h5') writes"
)


def check_weights(weights: str) -> None:
    """Finds the file, if it is to be one.

    Args:
      weights: `imagenet`, `none`, or a path.

    Raises:
      FileNotFoundError: the path does not exist.
    """
    if weights not in NAMED and not os.path.isfile(weights):
        raise FileNotFoundError(f"trainer.weights: no such file: {weights!r}; {WEIGHTS_HELP}")


def version(weights: str) -> str:
    """What tells the weights from others of the same name: SHA-256 of the file, in hex.

    A file is read once a process, and again when its size or time of change is another.

    Args:
      weights: as of `check_weights`.

    Returns:
      Empty for weights that are no file, and where there is none to read here.
    """
    if weights in NAMED or not os.path.isfile(weights):
        return ""
    status = os.stat(weights)
    return _digest(os.path.abspath(weights), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _digest(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
