"""The pretrained networks that a model can be made of: all of `keras.applications`, by name.

What follows from a network's name is in a table, so that settings are checked without TensorFlow;
`components.trainer.bodies` builds the networks. Instead of a name, a model may be the path of a
network of the user's own.
"""

import dataclasses
import difflib
import os
from dataclasses import dataclass
from typing import Literal

from components import paths

Pixels = Literal["-1..1", "0..255", "torch", "caffe"]
"""What a network takes: a range of RGB values, or 0 to 255 normalised as in the framework that its
weights come from. torch: scaled to 0 to 1, then centred and scaled by ImageNet's mean and standard
deviation of each channel. caffe: BGR, each channel centred by ImageNet's mean."""

_NEAREST = 3


@dataclass(frozen=True, kw_only=True)
class Network:
    """A constructor of `keras.applications`.

    Attributes:
      name: its name in the settings.
      constructor: its name in `keras.applications`.
      module: the module of `keras.applications` with its `preprocess_input`.
      pixels: the pixel values that its weights were trained on.
      smallest: the smallest side, in pixels, of its input.
      default: the side, in pixels, of the images that its weights were trained on.
      last_stage: where fine-tuning begins: the inputs of the stage with the last resolution, each
        as the name of a layer and `input` or `output`. More than one can't be computed once per
        image and kept.
      any_size: whether Keras builds the same layers for images of any size.
    """

    name: str
    constructor: str
    module: str
    pixels: Pixels
    smallest: int = 32
    default: int = 224
    last_stage: tuple[str, ...]
    any_size: bool = True


_CONVNEXT = Network(
    name="convnext_{}",
    constructor="ConvNeXt{}",
    module="convnext",
    pixels="0..255",
    last_stage=("{}_downsampling_block_2.input",),
)
_DENSENET = Network(
    name="densenet{}",
    constructor="DenseNet{}",
    module="densenet",
    pixels="torch",
    last_stage=("conv5_block1_0_bn.input",),
)
_EFFICIENTNET = Network(
    name="efficientnet_b{}",
    constructor="EfficientNetB{}",
    module="efficientnet",
    pixels="0..255",
    last_stage=("block6a_expand_conv.input",),
)
_EFFICIENTNET_V2 = Network(
    name="efficientnet_v2_{}",
    constructor="EfficientNetV2{}",
    module="efficientnet_v2",
    pixels="0..255",
    last_stage=("block6a_expand_conv.input",),
)
_INCEPTION = Network(
    name="inception_v3",
    constructor="InceptionV3",
    module="inception_v3",
    pixels="-1..1",
    smallest=75,
    default=299,
    last_stage=("mixed7.output",),
)
_MOBILENET = Network(
    name="mobilenet",
    constructor="MobileNet",
    module="mobilenet",
    pixels="-1..1",
    last_stage=("conv_pad_12.input",),
)
_NASNET = Network(
    name="nasnet_{}",
    constructor="NASNet{}",
    module="nasnet",
    pixels="-1..1",
    last_stage=(),
    # Its cells have a layer more wherever two inputs differ in size.
    any_size=False,
)
_RESNET = Network(
    name="resnet{}",
    constructor="ResNet{}",
    module="resnet",
    pixels="caffe",
    last_stage=("conv5_block1_1_conv.input",),
)
_RESNET_V2 = Network(
    name="resnet{}_v2",
    constructor="ResNet{}V2",
    module="resnet_v2",
    pixels="-1..1",
    last_stage=("conv5_block1_preact_bn.input",),
)
_VGG = Network(
    name="vgg{}",
    constructor="VGG{}",
    module="vgg{}",
    pixels="caffe",
    last_stage=("block5_conv1.input",),
)
_XCEPTION = Network(
    name="xception",
    constructor="Xception",
    module="xception",
    pixels="-1..1",
    smallest=71,
    default=299,
    # The last two of fourteen blocks.
    last_stage=("block13_sepconv1_act.input",),
)


def _member(family: Network, part: object, **changes: object) -> Network:
    """Returns a network of a family, whose names have `part` in place of {}."""
    member = dataclasses.replace(
        family,
        name=family.name.format(str(part).lower()),
        constructor=family.constructor.format(part),
        module=family.module.format(part),
    )
    # mypy does not check the types of fields by their names.
    return dataclasses.replace(member, **changes)  # type: ignore[arg-type]


def _convnext(part: str) -> Network:
    layer = _CONVNEXT.last_stage[0].format(f"convnext_{part.lower()}")
    return _member(_CONVNEXT, part, last_stage=(layer,))


def _mobilenet_v3(part: str, last_block: int) -> Network:
    return dataclasses.replace(
        _MOBILENET,
        name=f"mobilenet_v3_{part.lower()}",
        constructor=f"MobileNetV3{part}",
        module="mobilenet_v3",
        pixels="0..255",
        last_stage=(f"expanded_conv_{last_block}_expand.input",),
    )


def _nasnet(part: str, default: int, *, last_cells: tuple[str, str]) -> Network:
    """Returns a NASNet, whose cells take the outputs of two earlier cells."""
    cells = tuple(f"{cell}.output" for cell in last_cells)
    return _member(_NASNET, part, default=default, last_stage=cells)


_EFFICIENTNET_SIZES = (224, 240, 260, 300, 380, 456, 528, 600)
_EFFICIENTNET_V2_SIZES = {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "S": 384, "M": 480, "L": 480}

_ALL = (
    *map(_convnext, ("Tiny", "Small", "Base", "Large", "XLarge")),
    *(_member(_DENSENET, depth) for depth in (121, 169, 201)),
    *(_member(_EFFICIENTNET, n, default=size) for n, size in enumerate(_EFFICIENTNET_SIZES)),
    *(_member(_EFFICIENTNET_V2, n, default=size) for n, size in _EFFICIENTNET_V2_SIZES.items()),
    dataclasses.replace(
        _INCEPTION,
        name="inception_resnet_v2",
        constructor="InceptionResNetV2",
        module="inception_resnet_v2",
        last_stage=("block17_20_ac.output",),
    ),
    _INCEPTION,
    _MOBILENET,
    dataclasses.replace(
        _MOBILENET,
        name="mobilenet_v2",
        constructor="MobileNetV2",
        module="mobilenet_v2",
        last_stage=("block_13_expand.input",),
    ),
    _mobilenet_v3("Small", 8),
    _mobilenet_v3("Large", 12),
    _nasnet("Mobile", 224, last_cells=("normal_concat_8", "reduction_concat_reduce_8")),
    _nasnet("Large", 331, last_cells=("normal_concat_11", "reduction_concat_reduce_12")),
    *(_member(_RESNET, depth) for depth in (50, 101, 152)),
    *(_member(_RESNET_V2, depth) for depth in (50, 101, 152)),
    _member(_VGG, 16),
    _member(_VGG, 19),
    _XCEPTION,
)

NETWORKS = {network.name: network for network in sorted(_ALL, key=lambda each: each.name)}
"""Every network of `keras.applications`, by its name in the settings."""

CNN = "cnn"
"""The simple CNN, which is not pretrained."""

MODELS = (CNN, *NETWORKS)
"""The names that `trainer.model` can have."""


OWN_SUFFIX = ".keras"
"""End of the name of a file with a network of the user's own."""


def is_own(model: str) -> bool:
    """Whether a model is the path of a network of the user's own, and not a name."""
    return model.endswith(OWN_SUFFIX)


def check_model(model: str) -> str:
    """Returns the name of a model, or the expanded path of a network of the user's own.

    Raises:
      ValueError: there is no such model; the message names the nearest. Or it is no path on this
        machine.
    """
    if model in MODELS:
        return model
    if is_own(model):
        return paths.weights(model)
    if os.sep in model:
        raise ValueError(
            f"must be a name or the path of a file that ends in {OWN_SUFFIX}, written by "
            f"keras.Model.save. Received: {model!r}"
        )
    near = difflib.get_close_matches(model.lower(), MODELS, n=_NEAREST)
    nearest = f"did you mean {' or '.join(map(repr, near))}?" if near else ", ".join(NETWORKS)
    raise ValueError(
        f"must be cnn, the path of a file that ends in {OWN_SUFFIX}, or the name of a network of "
        f"keras.applications: {nearest} Received: {model!r}"
    )
