"""The weights of Xception as a user names them. Imports neither TensorFlow nor TFX."""

import os

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
    if weights not in ("imagenet", "none") and not os.path.isfile(weights):
        raise FileNotFoundError(f"trainer.weights: no such file: {weights!r}; {WEIGHTS_HELP}")
