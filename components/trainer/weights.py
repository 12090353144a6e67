"""The weights of a pretrained network in the settings. Imports neither TensorFlow nor TFX."""

import functools
import hashlib
import os

from components.trainer.backbones import NETWORKS, is_own

NAMED = ("imagenet", "none")
"""Weights that are not a file."""


def weights_help(model: str) -> str:
    """Returns what the weights of a network in `backbones.NETWORKS` may be, as a sentence."""
    return (
        "It must be 'imagenet', 'none', or the path of a file written by keras.applications."
        f"{NETWORKS[model].constructor}(include_top=False).save_weights('NAME.weights.h5')"
    )


def check_weights(weights: str, model: str) -> None:
    """Checks that the weights exist if they are a file, and a network of the user's own.

    Args:
      weights: `imagenet`, `none`, or a path.
      model: the network's name in the settings, or the path of a network of the user's own.

    Raises:
      FileNotFoundError: a path does not exist.
    """
    if is_own(model):
        if not os.path.isfile(model):
            raise FileNotFoundError(
                "trainer.model does not exist. It must be a name, or the path of a file written by "
                f"keras.Model.save. Received: {model!r}"
            )
    elif weights not in NAMED and not os.path.isfile(weights):
        raise FileNotFoundError(
            f"trainer.weights does not exist. {weights_help(model)}. Received: {weights!r}"
        )


def version(weights: str, model: str = "") -> str:
    """Returns the SHA-256 of the file with the weights, in hex, which detects a replaced file.

    A file is read once per process, and again if its size or modification time changes.

    Args:
      weights: see `check_weights`.
      model: likewise; a network of the user's own has its weights in its file.

    Returns:
      64 hex digits; empty if the weights are not in a file, or if it does not exist here.
    """
    path = model if is_own(model) else weights
    if path in NAMED or not os.path.isfile(path):
        return ""
    status = os.stat(path)
    return _digest(os.path.abspath(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _digest(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
