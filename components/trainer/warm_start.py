"""Initial weights of a training, from the champion's SavedModel.

The Trainer's SavedModel, calibrated or not, names each weight by the place of its layer in the
network. Layers are compared in order: a network that is split for fine-tuning has the same layers
in the same order as one that is not.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.champion_finder import found_champion
from components.trainer.models import Network

_LOGGER = logging.getLogger("outnumbered.trainer")

_WEIGHT = re.compile(
    # A sequential network within the network has its layers in `_functional`.
    r"(?:_trained/)?_model/(?P<place>(?:_functional/|\w+/\d+/)+)"
    r"_?(?P<name>\w+?)/\.ATTRIBUTES/VARIABLE_VALUE"
)
_ADVICE = "train with the champion's trainer settings, or set trainer.warm_start to null"

Layer = dict[str, np.ndarray]
"""The weights of a layer by name, such as `kernel`."""
Shapes = Mapping[str, tuple[int, ...]]


class WarmStartError(ValueError):
    """A champion whose weights don't fit; the message says where."""


@dataclass(frozen=True)
class ChampionWeights:
    """The weights of a champion.

    Attributes:
      name: the champion in words.
      layers: the layers that have weights, from the image to the probability.
    """

    name: str
    layers: list[Layer]

    @property
    def digest(self) -> str:
        """Identifies the weights, 64 hex digits."""
        digest = hashlib.sha256()
        for layer in self.layers:
            for name, values in sorted(layer.items()):
                digest.update(f"{name} {values.dtype} {values.shape}".encode())
                digest.update(values.tobytes())
        return digest.hexdigest()


def read(uri: str) -> ChampionWeights | None:
    """Reads the weights of a champion; None if there is no champion, which is logged.

    Args:
      uri: URI of the Champion artifact.

    Raises:
      WarmStartError: the champion's SavedModel has no weights of a network of the Trainer.
    """
    found = found_champion.read(uri)
    if found.version is None:
        _LOGGER.info("no warm start: %s", found.reason)
        return None
    folder = os.path.join(found_champion.model_folder(uri), "variables", "variables")
    try:
        reader = tf.train.load_checkpoint(folder)
    except (tf.errors.OpError, ValueError) as error:
        raise _not_of_the_trainer(found.name) from error
    layers = layers_of(reader)
    if not layers:
        raise _not_of_the_trainer(found.name)
    return ChampionWeights(found.name, layers)


def layers_of(reader: Any) -> list[Layer]:
    """Returns the layers that `tf.train.load_checkpoint` reads, from image to probability."""
    layers: dict[tuple[int, ...], Layer] = {}
    for key in reader.get_variable_to_shape_map():
        if match := _WEIGHT.fullmatch(key):
            place = tuple(map(int, re.findall(r"/(\d+)/", match["place"])))
            layers.setdefault(place, {})[match["name"]] = reader.get_tensor(key)
    return [layers[place] for place in sorted(layers)]


def apply(champion: ChampionWeights, network: Network) -> None:
    """Sets the weights of a network to the champion's.

    A body that is never trained must have them already: the head would else begin on features that
    it was not trained on.

    Args:
      champion: the champion.
      network: newly initialized.

    Raises:
      WarmStartError: the champion has other layers, or another body; nothing is set.
    """
    layers = list(_with_weights(network.full))
    for layer, weights in zip_longest(layers, champion.layers):
        _check_fits(champion.name, layer, weights)
    body = list(_with_weights(network.body)) if network.body else []
    for layer, weights in zip(body, champion.layers, strict=False):
        _check_equal(champion.name, layer, weights)
    for layer, weights in zip(layers, champion.layers, strict=True):
        for name, variable in _weights(layer).items():
            variable.assign(weights[name])
    _LOGGER.info("warm start: the weights of the champion, %s", champion.name)


def _with_weights(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _with_weights(layer)
        elif layer.weights:
            yield layer


def _weights(layer: keras.Layer) -> dict[str, keras.Variable]:
    """Returns the variables of a layer by the names under which a SavedModel keeps them.

    These are the names of its attributes, which some layers call otherwise than their variables.
    """
    attributes = {id(value): name.removeprefix("_") for name, value in vars(layer).items()}
    return {attributes.get(id(each), each.name): each for each in layer.weights}


def _check_fits(champion: str, layer: keras.Layer | None, weights: Layer | None) -> None:
    found = {name: values.shape for name, values in (weights or {}).items()}
    asked = {name: tuple(each.shape) for name, each in _weights(layer).items()} if layer else {}
    if asked != found:
        where = f"layer {layer.name!r}" if layer else "the layer after the last"
        raise WarmStartError(
            f"trainer.warm_start: the champion, {champion}, doesn't fit: {where} must have "
            f"{_described(asked)}; {_ADVICE}. Received: {_described(found)}"
        )


def _check_equal(champion: str, layer: keras.Layer, weights: Layer) -> None:
    if any((weights[name] != each.numpy()).any() for name, each in _weights(layer).items()):
        raise WarmStartError(
            f"trainer.warm_start: the champion, {champion}, doesn't fit: layer {layer.name!r} is "
            "not trained, so it must have the weights of trainer.weights, on whose features the "
            f"champion's head must have been trained; {_ADVICE}. Received: other weights"
        )


def _described(shapes: Shapes) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())) or "no weights"


def _not_of_the_trainer(champion: str) -> WarmStartError:
    return WarmStartError(
        f"trainer.warm_start: the champion must be a model that the Trainer has exported; set "
        f"trainer.warm_start to null for this run. Received: {champion}, which has no weights of "
        "such a network"
    )
