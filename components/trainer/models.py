"""The networks, split into the parts that training treats differently."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import layers

from components.trainer.settings import POOLED_HEAD_C, TrainerSettings
from components.trainer.weights import WEIGHTS_HELP, check_weights

# First layer of the last two of Xception's fourteen blocks: the layers before it are general
# enough to keep their ImageNet weights.
_FINE_TUNED_FROM = "block13_sepconv1_act"


@dataclass(frozen=True)
class Network:
    """A network that maps images (b, size, size, 3) to probabilities (b, 1).

    Attributes:
      full: the whole network.
      body: the first part, from the images on, which is never trained, so that its output is
        computed once per image; None if there is no such part.
      trained: the rest, from the body's output (or the images) to the probability. It
        shares its layers with `full`.
      top: the pretrained part of `trained`: frozen at first, and trained at the end with
        fine-tuning; None if there is no such part.
    """

    full: keras.Model
    body: keras.Model | None
    trained: keras.Model
    top: keras.Model | None


def build_network(
    settings: TrainerSettings, *, epoch_images: int = 1, weights: str | None = None
) -> Network:
    """Returns the network of the settings, with newly initialized weights in its head.

    Args:
      settings: the trainer's settings.
      epoch_images: number of images per epoch; the more, the weaker the penalty of a pooled
        head. Ignored unless the network is trained.
      weights: weights of the pretrained body, instead of those of the settings.

    Raises:
      FileNotFoundError: the path of the weights does not exist.
      ValueError: the file does not fit the body.
      ConnectionError: the weights could not be downloaded.
    """
    if settings.model == "cnn":
        model = simple_cnn(settings.image_size)
        return Network(full=model, body=None, trained=model, top=None)
    pretrained = xception_body(
        settings.image_size, weights or settings.weights, pooled=settings.head == "pooled"
    )
    pretrained.trainable = False
    head = build_head(settings, pretrained.output_shape[1:], epoch_images=epoch_images)
    return _assemble(pretrained, head, settings)


def build_head(
    settings: TrainerSettings, features_shape: Sequence[int], *, epoch_images: int = 1
) -> keras.Model:
    """Returns the head of a pretrained body: features (b, *features_shape) to probabilities (b, 1).

    Args: as `build_network`.
    """
    features = keras.Input(features_shape, name="features")
    outputs = (
        flatten_head(features)
        if settings.head == "flatten"
        else pooled_head(features, penalty=pooled_penalty(settings, epoch_images))
    )
    return keras.Model(features, outputs, name="head")


def pooled_penalty(settings: TrainerSettings, images: int) -> float:
    """Returns the factor of the sum of squared weights in the loss of a pooled head's training.

    The loss is a mean over images, so the penalty of the summed loss is divided by their number.

    Args:
      settings: the trainer's settings.
      images: number of images per epoch.
    """
    penalty = POOLED_HEAD_C if settings.penalty == "auto" else settings.penalty
    return 1 / (2 * penalty * images)


def _assemble(pretrained: keras.Model, head: keras.Model, settings: TrainerSettings) -> Network:
    body, top = _split(pretrained) if settings.fine_tune else (pretrained, None)
    trained = _chain(top, head) if top else head
    full = _chain(body, trained)
    if settings.augmentation:
        # Every epoch has different images, so nothing can be computed in advance.
        return Network(full=full, body=None, trained=full, top=top)
    return Network(full=full, body=body, trained=trained, top=top)


def _chain(first: keras.Model, second: keras.Model) -> keras.Model:
    inputs = keras.Input(first.input_shape[1:])
    return keras.Model(inputs, second(first(inputs)))


def _split(pretrained: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Returns the pretrained network before the first fine-tuned block, and the rest."""
    border = pretrained.get_layer(_FINE_TUNED_FROM).input
    body = keras.Model(pretrained.input, border, name="body")
    top = keras.Model(border, pretrained.output, name="top")
    body.trainable = top.trainable = False
    return body, top


def unfreeze(top: keras.Model) -> None:
    """Makes the pretrained part trainable, except for its batch normalisation.

    The statistics of a few thousand images of two classes are worse than ImageNet's. A batch
    normalisation layer that is not trainable normalises as in inference.
    """
    top.trainable = True
    for layer in top.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def simple_cnn(image_size: int) -> keras.Model:
    """Returns a CNN of three convolutions and a hidden layer: 2,190,529 parameters at 128 x 128."""

    def convolution(filters: int) -> keras.Layer:
        return layers.Conv2D(
            filters, 3, padding="same", activation="relu", kernel_initializer="he_uniform"
        )

    return keras.Sequential(
        [
            keras.Input((image_size, image_size, 3), name="images"),
            convolution(32),
            layers.MaxPooling2D(),
            layers.Dropout(0.15),
            convolution(64),
            layers.MaxPooling2D(),
            layers.Dropout(0.15),
            convolution(128),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu", kernel_initializer="he_uniform"),
            layers.Dropout(0.4),
            _probability(),
        ],
        name="cnn",
    )


def _probability(penalty: keras.Regularizer | None = None) -> keras.Layer:
    # float32 even in mixed precision: in float16 the sigmoid of 8.3 and more is 1.
    return layers.Dense(
        1,
        activation="sigmoid",
        kernel_regularizer=penalty,
        dtype="float32",
        name="probability",
    )


def flatten_head(features: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the notebook's head on a feature map (b, h, w, c): 512 units, then one."""
    hidden = layers.Dense(512, activation="relu")(layers.Flatten()(features))
    return _probability()(hidden)


def pooled_head(features: keras.KerasTensor, *, penalty: float) -> keras.KerasTensor:
    """Returns logistic regression on pooled features (b, c), with an L2 penalty.

    Args:
      features: the body's output.
      penalty: factor of the sum of squared weights in the loss.
    """
    return _probability(keras.regularizers.L2(penalty))(features)


def xception_body(image_size: int, weights: str, *, pooled: bool) -> keras.Model:
    """Returns Xception without its classifier: images (b, size, size, 3) in [-1, 1] to features.

    Args:
      image_size: side of the images in pixels, at least 71.
      weights: `imagenet`, `none`, or the path of a Keras 3 weights file.
      pooled: whether the last feature map (b, h, w, 2048) is averaged to (b, 2048).

    Raises: as `build_network`.
    """
    check_weights(weights)
    try:
        return keras.applications.Xception(
            weights=None if weights == "none" else weights,
            include_top=False,
            input_shape=(image_size, image_size, 3),
            pooling="avg" if pooled else None,
        )
    # Keras raises Exception if the download fails, and the errors of its HDF5 reader if the
    # file does not fit.
    except Exception as error:
        if weights == "imagenet":
            raise ConnectionError(
                f"Keras could not download the ImageNet weights of Xception ({error}); without a "
                f"network, set trainer.weights to a file. {WEIGHTS_HELP}. Received: {weights!r}"
            ) from error
        raise ValueError(
            f"trainer.weights does not fit Xception ({error}). {WEIGHTS_HELP}. "
            f"Received: {weights!r}"
        ) from error
