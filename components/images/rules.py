"""How images are read: the contract between ingestion, training and serving.

The Trainer writes the rules into its SavedModel's assets, so that whoever serves the model
reads images as its training images were read. Imports neither TensorFlow nor TFX.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

DEFAULT_MAX_PIXELS = 50_000_000

BACKGROUND = "white"
"""On which transparent parts are laid."""

VERSION = 1
"""Of the contract: grows with every change after which the same file gives other pixels."""

ASSET_NAME = "reading_rules.json"
ASSETS = "assets"


class RulesError(ValueError):
    """A model without reading rules, or with rules that this version does not follow."""


@dataclass(frozen=True, kw_only=True)
class ReadingRules:
    """How an encoded image becomes a network's input.

    Attributes:
      image_size: side in pixels of the square that the network sees.
      pixel_range: what 0 and 255 become.
      max_side: longest side, in pixels, of a stored image; larger ones are scaled down, and
        0 keeps the size.
      max_pixels: width times height above which an image is refused.
      background: colour on which transparent images are laid.
      orientation: what turns an image upright; `exif` is its EXIF orientation.
      shrink: filter by which an image is scaled down to `max_side`.
      resize: filter by which it becomes a square of `image_size`.
      version: of the contract.
    """

    image_size: int
    pixel_range: tuple[float, float]
    max_side: int = 0
    max_pixels: int = DEFAULT_MAX_PIXELS
    background: str = BACKGROUND
    orientation: str = "exif"
    shrink: str = "Lanczos, antialiased"
    resize: str = "bilinear, antialiased"
    version: int = VERSION

    def as_sentence(self) -> str:
        """The rules in words."""
        low, high = self.pixel_range
        shrunk = f"scaled down to {self.max_side} pixels ({self.shrink}), " if self.max_side else ""
        return (
            f"Images are turned upright by {self.orientation.upper()}, laid on {self.background}, "
            f"{shrunk}and resized to {self.image_size} x {self.image_size} pixels "
            f"({self.resize}) between {low:g} and {high:g}."
        )

    def to_json(self) -> str:
        """The rules as a JSON object; `from_json` reads it back."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ReadingRules":
        """The rules in a JSON object.

        Raises:
          RulesError: it names other rules, or values that this version does not follow.
        """
        values: dict[str, Any] = json.loads(text)
        if values.get("version") != VERSION:
            raise RulesError(
                f"version of the reading rules must be {VERSION}; use the version of outnumbered "
                f"that exported the model. Received: {values.get('version')!r}"
            )
        known = {field.name for field in fields(cls)}
        if known != values.keys():
            raise RulesError(f"reading rules are {sorted(known)}. Received: {sorted(values)}")
        low, high = values.pop("pixel_range")
        return cls(pixel_range=(low, high), **values)


def read_rules(model: Path) -> ReadingRules:
    """The rules in the assets of a SavedModel.

    Args:
      model: its folder.

    Raises:
      RulesError: it has none, or other than this version follows.
    """
    path = model / ASSETS / ASSET_NAME
    if not path.is_file():
        raise RulesError(
            f"the model in {model} has no {ASSETS}/{ASSET_NAME}: it was exported before models "
            "recorded how images are read; train and push it again"
        )
    return ReadingRules.from_json(path.read_text(encoding="utf-8"))


def shrunk_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Width and height in pixels of an image that is scaled down to `max_side`.

    Its aspect is kept as far as whole pixels, at least one, allow; an image that is small
    enough keeps its size, and so does every image where `max_side` is 0.
    """
    longest = max(width, height)
    if not max_side or longest <= max_side:
        return width, height
    return _scaled(width, max_side, longest), _scaled(height, max_side, longest)


def _scaled(side: int, numerator: int, denominator: int) -> int:
    return max(1, (2 * side * numerator + denominator) // (2 * denominator))
