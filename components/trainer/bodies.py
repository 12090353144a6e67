"""Pretrained networks without their classifiers, each with its own pixel convention.

`components.trainer.backbones` lists them.
"""

import importlib
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from components.trainer.backbones import NETWORKS, Network, is_own
from components.trainer.views import ONLY_ORIGINAL, View, view
from components.trainer.views import sides as view_sides
from components.trainer.weights import check_weights, weights_help

_LAYER = re.compile(r"for object <\w+ name=(?P<layer>[^,>]+)")
_SHAPES = re.compile(
    r"variable\.shape=(?P<asked>\([^)]*\)), Received: value\.shape=(?P<found>.*?\))"
)
_LONGEST_CAUSE = 200
# (batch, height, width, channels) and (batch, tokens, channels)
_MAP_RANK = 4
_TOKENS_RANK = 3
_HUB = "keras_hub"
# Of red, green and blue from 0 to 1.
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def body_of_views(
    model: str,
    image_size: int,
    weights: str,
    *,
    pooled: bool,
    views: Sequence[str] = ONLY_ORIGINAL,
) -> keras.Model:
    """Returns a network that averages the features of several views of each image.

    Args:
      model, image_size, weights, pooled: as `pretrained_body`.
      views: names of single views, see `components.trainer.views`.

    Raises: as `pretrained_body`.
    """
    network = network_of_views(model, image_size, weights, pooled=pooled, views=views)
    return seen_in(network, image_size, views)


def network_of_views(
    model: str,
    image_size: int,
    weights: str,
    *,
    pooled: bool,
    views: Sequence[str] = ONLY_ORIGINAL,
    any_size: bool = False,
) -> keras.Model:
    """Returns the network that sees every view of an image, each by itself.

    Args:
      model, image_size, weights, pooled, views: as `body_of_views`.
      any_size: build the network for images of any size even if all views have the same. Such a
        network may pad its input otherwise, so that the features of a view differ.

    Raises: as `pretrained_body`.
    """
    sides = view_sides(views, image_size)
    any_size = any_size or len(sides) > 1
    return pretrained_body(model, None if any_size else sides.pop(), weights, pooled=pooled)


def seen_in(network: keras.Model, image_size: int, views: Sequence[str]) -> keras.Model:
    """Returns a network of the same weights that averages its features of views of an image.

    Args:
      network: as `network_of_views` returns it for these views, or for more.
      image_size: side, in pixels, of the images of which the views are made.
      views: names of single views.
    """
    if tuple(views) == ONLY_ORIGINAL and network.input_shape[1] == image_size:
        return network
    images = keras.Input((image_size, image_size, 3), name="images")
    features = [network(_seen(images, view(name, image_size)), training=False) for name in views]
    return keras.Model(images, layers.Average()(features) if len(features) > 1 else features[0])


def _seen(images: keras.KerasTensor, view: View) -> keras.KerasTensor:
    """Returns what a network sees of images (b, size, size, 3) in a view: (b, side, side, 3)."""
    rows, columns = slice(view.top, view.top + view.part), slice(view.left, view.left + view.part)
    seen = images[:, rows, columns]
    if view.side != view.part:
        seen = keras.ops.image.resize(seen, (view.side, view.side), antialias=True)
    return keras.ops.flip(seen, axis=2) if view.mirrored else seen


def pretrained_body(
    model: str, image_size: int | None, weights: str, *, pooled: bool
) -> keras.Model:
    """Returns a network without its classifier: images (b, size, size, 3) to features.

    The images are RGB, in the network's own range, see `TrainerSettings.pixel_range`. What else
    its weights were trained on, such as centred channels, is part of the network returned.

    Args:
      model: a name in `backbones.NETWORKS`, or the path of a network of the user's own.
      image_size: side of the images in pixels, at least the network's smallest; None: any.
      weights: `imagenet`, `none`, or the path of a Keras 3 weights file; ignored for a network of
        the user's own, which has its weights in its file.
      pooled: whether the last feature map (b, h, w, c) is averaged to (b, c).

    Raises:
      FileNotFoundError: a path does not exist.
      ValueError: the weights do not fit the network, and the message names the layer; or a network
        of the user's own can't be used.
      ConnectionError: the weights could not be downloaded.
    """
    check_weights(weights, model)
    if is_own(model):
        return _own_body(model, image_size, pooled=pooled)
    network = NETWORKS[model]
    shape = (image_size, image_size, 3)
    given: dict[str, Any] = {}
    if network.pixels in ("torch", "caffe"):
        images = keras.Input(shape, name="images")
        given["input_tensor"] = _own_preprocessing(network)(images)
    body = _constructed(network, shape, weights, pooled=pooled, **given)
    return body if network.module != "efficientnet" else _as_for_imagenet(body)


def _constructed(
    network: Network, shape: Sequence[int | None], weights: str, *, pooled: bool, **given: Any
) -> keras.Model:
    try:
        with warnings.catch_warnings():
            # The file of a network that begins with its first layer has no group for ours.
            warnings.filterwarnings("ignore", "Skipping nested container")
            body: keras.Model = getattr(keras.applications, network.constructor)(
                weights=None if weights == "none" else weights,
                include_top=False,
                input_shape=tuple(shape),
                pooling="avg" if pooled else None,
                **given,
            )
            return body
    # Keras raises Exception if the download fails, and the errors of its HDF5 reader if the
    # file does not fit.
    except Exception as error:
        if weights == "imagenet":
            raise ConnectionError(
                f"Keras could not download the ImageNet weights of {network.constructor} "
                f"({error}); without a network, set trainer.weights to a file. "
                f"{weights_help(network.name)}. Received: {weights!r}"
            ) from error
        raise ValueError(
            f"trainer.weights does not fit {network.constructor}: {_cause(error)}. "
            f"{weights_help(network.name)}. Received: {weights!r}"
        ) from error


def _own_body(path: str, image_size: int | None, *, pooled: bool) -> keras.Model:
    loaded = _loaded(path)
    _check_own(loaded, path, image_size)
    images = keras.Input((image_size, image_size, 3), name="images")
    # Networks of keras-hub take their images by name.
    given = keras.tree.map_structure(lambda _: images, _input(loaded))
    features = loaded(given, training=False)
    if len(features.shape) == _TOKENS_RANK:
        features = layers.GlobalAveragePooling1D()(features)
    elif pooled and len(features.shape) == _MAP_RANK:
        features = layers.GlobalAveragePooling2D()(features)
    return keras.Model(images, features)


def _loaded(path: str) -> keras.Model:
    try:
        if _has_layers_of_hub(path):
            importlib.import_module(_HUB)
        model: keras.Model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"trainer.model has layers of keras-hub: install outnumbered[hub]. Received: {path!r}"
        ) from error
    # A file that is no network raises errors of zip, JSON and HDF5, and one with code ValueError or
    # TypeError.
    except Exception as error:
        raise ValueError(
            "trainer.model can't be loaded: it must be written by keras.Model.save, of layers of "
            f"Keras and keras-hub alone, as no code is run from it ({_cause(error)}). "
            f"Received: {path!r}"
        ) from error
    return model


def _has_layers_of_hub(path: str) -> bool:
    with zipfile.ZipFile(path) as file:
        return f'"{_HUB}>'.encode() in file.read("config.json")


def _input(model: keras.Model) -> Any:
    """Returns the input tensor of a model, or its tensors in the structure that it takes."""
    # A sequential model has no `input` before it is called.
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def _check_own(loaded: keras.Model, path: str, image_size: int | None) -> None:
    """Refuses a network that does not map such images to features."""
    asked = (None, image_size, image_size, 3)
    found = [tuple(each.shape) for each in keras.tree.flatten(_input(loaded))]
    if found not in ([asked], [(None, None, None, 3)]):
        raise ValueError(
            f"trainer.model must take images of shape {asked}; set trainer.image_size to its size. "
            f"Received: {', '.join(map(str, found))} in {path!r}"
        )
    features = loaded.output_shape
    if not isinstance(features, tuple) or features[-1] is None or len(features) > _MAP_RANK:
        raise ValueError(
            "trainer.model must return features of shape (None, channels), or a map or sequence of "
            "them, such as (None, height, width, channels) or (None, tokens, channels). "
            f"Received: {features} in {path!r}"
        )


def _as_for_imagenet(body: keras.Model) -> keras.Model:
    """Returns an EfficientNet of the first version with the layer that Keras adds for ImageNet.

    Keras divides its input by the root of the standard deviation only if it is built with
    `imagenet`, and not in the network that is to take the same weights from a file.
    """
    if any(isinstance(layer, layers.Rescaling) for layer in body.layers[2:]):
        return body

    def call(layer: keras.Layer, *arguments: Any, **keywords: Any) -> keras.KerasTensor:
        outputs = layer(*arguments, **keywords)
        if isinstance(layer, layers.Normalization):
            return layers.Rescaling([deviation**-0.5 for deviation in _IMAGENET_DEVIATION])(outputs)
        return outputs

    completed = keras.models.clone_model(body, call_function=call)
    completed.set_weights(body.get_weights())
    return completed


def _own_preprocessing(network: Network) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    function: Callable[[keras.KerasTensor], keras.KerasTensor] = getattr(
        keras.applications, network.module
    ).preprocess_input
    return function


def _cause(error: Exception) -> str:
    """Returns what Keras says of a file that doesn't fit, without the values of the weights."""
    text = str(error)
    layer, shapes = _LAYER.search(text), _SHAPES.search(text)
    if layer and shapes:
        return (
            f"its layer {layer['layer']!r} must have weights of shape {shapes['asked']}, and the "
            f"file has {shapes['found']}"
        )
    return " ".join(text.split())[:_LONGEST_CAUSE]


def last_stage(model: str, body: keras.Model) -> list[keras.KerasTensor]:
    """Returns the tensors from which fine-tuning trains the network on.

    Args:
      model: a name in `backbones.NETWORKS`.
      body: what `pretrained_body` returned for it.
    """
    borders = (border.rsplit(".", 1) for border in NETWORKS[model].last_stage)
    return [getattr(body.get_layer(layer), side) for layer, side in borders]


def split(
    body: keras.Model, borders: Sequence[keras.KerasTensor]
) -> tuple[keras.Model, keras.Model]:
    """Returns a network before the given tensors, and the rest; neither is trainable."""
    border = borders[0] if len(borders) == 1 else list(borders)
    first = keras.Model(body.input, border, name="body")
    rest = keras.Model(border, body.output, name="top")
    first.trainable = rest.trainable = False
    return first, rest


def unfreeze(top: keras.Model) -> None:
    """Makes a pretrained part trainable, except for its batch normalisation.

    The statistics of a few thousand images of two classes are worse than ImageNet's. A batch
    normalisation layer that is not trainable normalises as in inference.
    """
    top.trainable = True
    for layer in top._flatten_layers(include_self=False):
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
