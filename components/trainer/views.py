"""Views of an image: the whole image, its mirror image, crops and smaller sizes of it.

A frozen network's features are computed for each view, and averaged. All views are made of the
pixels of the image at `trainer.image_size`. Imports neither TensorFlow nor TFX.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from components.section import WholeNumber

ORIGINAL = "original"
ONLY_ORIGINAL = (ORIGINAL,)

_CROPS = ("center", "top_left", "top_right", "bottom_left", "bottom_right")
_CROP = "{}_crop"
_MIRROR = "_mirror"
_FIVE_CROPS = tuple(map(_CROP.format, _CROPS))
_GROUPS = {
    ORIGINAL: ONLY_ORIGINAL,
    "mirror": (ORIGINAL + _MIRROR,),
    "center_crop": (_CROP.format("center"),),
    "five_crops": _FIVE_CROPS,
    "ten_crops": (*_FIVE_CROPS, *(crop + _MIRROR for crop in _FIVE_CROPS)),
}
_SIDE = re.compile(r"side_(\d+)")
# As 224 of 256 pixels, with which many networks were evaluated.
_CROP_NUMERATOR, _CROP_DENOMINATOR = 7, 8

Name = Literal["original", "mirror", "center_crop", "five_crops", "ten_crops"]
Views = list[Name | Annotated[WholeNumber, Field(ge=16, le=1024)]]
"""The setting: names of views, and sides, in pixels, of the whole image."""


@dataclass(frozen=True)
class View:
    """A part of an image, and the size in which a network sees it.

    Attributes:
      top: first row of the part.
      left: first column of the part.
      part: side of the part, in pixels.
      side: side that it is resized to.
      mirrored: whether it is mirrored left to right.
    """

    top: int
    left: int
    part: int
    side: int
    mirrored: bool


def names(views: Sequence[str | int]) -> tuple[str, ...]:
    """Returns the name of each single view of a setting, without repetition."""
    single = [
        name
        for view in views
        for name in (_GROUPS[view] if isinstance(view, str) else (f"side_{view}",))
    ]
    return tuple(dict.fromkeys(single))


def view(name: str, image_size: int) -> View:
    """Returns a single view.

    Args:
      name: one of `names`.
      image_size: side of the image in pixels.
    """
    mirrored = name.endswith(_MIRROR)
    name = name.removesuffix(_MIRROR)
    if name == ORIGINAL:
        return View(0, 0, image_size, image_size, mirrored)
    if found := _SIDE.fullmatch(name):
        return View(0, 0, image_size, int(found[1]), mirrored)
    crop = image_size * _CROP_NUMERATOR // _CROP_DENOMINATOR
    rest = image_size - crop
    vertical, _, horizontal = name.removesuffix(_CROP.format("")).partition("_")
    offsets = {"top": 0, "left": 0, "bottom": rest, "right": rest, "center": rest // 2}
    return View(offsets[vertical], offsets[horizontal or "center"], crop, crop, mirrored)


def sides(views: Sequence[str], image_size: int) -> set[int]:
    """Returns the sides, in pixels, in which a network sees the single views."""
    return {view(name, image_size).side for name in views}
