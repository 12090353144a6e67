"""How images are read: the contract between ingestion, training and serving.

The Trainer writes the rules to its SavedModel's assets, so that images are read in the same way
when the model is served. Imports neither TensorFlow nor TFX.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

DEFAULT_MAX_PIXELS = 50_000_000

MAX_SCANS = 16
"""Scans that a JPEG of `max_pixels` may have; a smaller one may have more, in proportion."""

BACKGROUND = "white"
"""The colour onto which transparent parts are composited."""

VERSION = 1
"""Version of the contract: increased by each change that gives other pixels for the same file."""

ASSET_NAME = "reading_rules.json"
ASSETS = "assets"


class RulesError(ValueError):
    """A model without reading rules, or with rules of another version."""


@dataclass(frozen=True, kw_only=True)
class ReadingRules:
    """How an encoded image becomes a network's input.

    Attributes:
      image_size: side, in pixels, of the network's square input.
      pixel_range: values to which 0 and 255 are mapped.
      max_side: longest side, in pixels, of a stored image; larger ones are scaled down, and
        0 keeps the size.
      max_pixels: width times height above which an image is refused.
      background: colour onto which transparent images are composited.
      orientation: how an image is turned upright; `exif` is by its EXIF orientation.
      shrink: filter by which an image is scaled down to `max_side`.
      resize: filter by which it is resized to a square of `image_size`.
      version: version of the contract.
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
        """Returns the rules as a sentence."""
        low, high = self.pixel_range
        shrunk = f"scaled down to {self.max_side} pixels ({self.shrink}), " if self.max_side else ""
        return (
            f"Images are turned upright by {self.orientation.upper()}, composited onto "
            f"{self.background}, "
            f"{shrunk}and resized to {self.image_size} x {self.image_size} pixels "
            f"({self.resize}) between {low:g} and {high:g}."
        )

    def to_json(self) -> str:
        """Returns the rules as a JSON object, which `from_json` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ReadingRules":
        """Returns the rules in a JSON object.

        Raises:
          RulesError: the text is no JSON, or the keys or the version are not those of this version
            of the contract.
        """
        try:
            values: dict[str, Any] = dict(json.loads(text))
        except (ValueError, TypeError) as error:
            raise RulesError(
                f"the reading rules must be a JSON object; push the model again ({error}). "
                f"Received: {text[:80]!r}"
            ) from error
        if values.get("version") != VERSION:
            raise RulesError(
                f"version of the reading rules must be {VERSION}; use the version of outnumbered "
                f"that exported the model. Received: {values.get('version')!r}"
            )
        known = {field.name for field in fields(cls)}
        if known != values.keys():
            raise RulesError(
                f"keys of the reading rules must be {sorted(known)}. Received: {sorted(values)}"
            )
        low, high = values.pop("pixel_range")
        return cls(pixel_range=(low, high), **values)


def read_rules(model: Path) -> ReadingRules:
    """Returns the rules in the assets of a SavedModel.

    Args:
      model: folder of the SavedModel.

    Raises:
      RulesError: it has no rules, or rules of another version.
    """
    path = model / ASSETS / ASSET_NAME
    if not path.is_file():
        raise RulesError(
            f"the model has no {ASSETS}/{ASSET_NAME}: it was exported before models recorded how "
            f"images are read; train and push it again. Received: {model}"
        )
    return ReadingRules.from_json(path.read_text(encoding="utf-8"))


def shrunk_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Returns width and height, in pixels, of an image that is scaled down to `max_side`.

    The aspect ratio is kept up to rounding to whole pixels, at least one. An image that is small
    enough keeps its size, as does every image if `max_side` is 0.
    """
    longest = max(width, height)
    if not max_side or longest <= max_side:
        return width, height
    return _scaled(width, max_side, longest), _scaled(height, max_side, longest)


def _scaled(side: int, numerator: int, denominator: int) -> int:
    return max(1, (2 * side * numerator + denominator) // (2 * denominator))
