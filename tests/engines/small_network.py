"""A network of one layer in place of Xception, which each process takes seconds to build."""

import keras
import pytest


def small_network(
    *, weights: None, include_top: bool, input_shape: tuple[int, int, int], pooling: str | None
) -> keras.Model:
    """Takes the arguments of `keras.applications.Xception`, and returns features of 8 numbers."""
    images = keras.Input(input_shape)
    found = keras.layers.Conv2D(8, 3, strides=4, activation="relu")(images)
    if pooling:
        found = keras.layers.GlobalAveragePooling2D()(found)
    return keras.Model(images, found)


def use(patch: pytest.MonkeyPatch) -> None:
    """Replaces Xception in this process."""
    patch.setattr(keras.applications, "Xception", small_network)
