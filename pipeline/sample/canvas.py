"""A supersampled layer to draw on, with shapes in local coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageChops, ImageDraw

Colour = tuple[int, int, int]
Points = NDArray[np.float64]

SUPERSAMPLING = 2
"""Pixels of a layer per pixel of the finished picture, along each axis."""

_STEPS = 6
"""Points of a spline per segment between two control points."""


def shaded(colour: Colour, factor: float) -> Colour:
    """Returns `colour` with its brightness multiplied by `factor`, clipped to 0..255."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """Returns the colour that is `share` (0..1) of the way from `first` to `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def point(x: float, y: float) -> Points:
    """Returns the point or vector (x, y) as an array."""
    return np.array((x, y))


def symmetric(half: Sequence[tuple[float, float]]) -> Points:
    """Returns the outline whose right half, from top to bottom, passes through `half`."""
    right = np.array(half)
    return np.concatenate([right, right[::-1] * (-1, 1)])


@cache
def _spline_basis() -> Points:
    """Catmull-Rom weights, shape (steps, 4), of the four points around a segment."""
    t = np.arange(_STEPS) / _STEPS
    powers = np.stack([np.ones_like(t), t, t**2, t**3], axis=1)
    weights = [[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]
    return powers @ (0.5 * np.array(weights, dtype=float))


@cache
def _unit_circle() -> Points:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def closed_curve(points: ArrayLike) -> Points:
    """Returns a smooth outline, shape (6n, 2), through `points`, shape (n, 2)."""
    knots = np.asarray(points, dtype=float)
    around = np.arange(len(knots))[:, None] + (-1, 0, 1, 2)
    return (_spline_basis() @ knots[around % len(knots)]).reshape(-1, 2)


def open_curve(points: ArrayLike) -> Points:
    """Returns a smooth line, shape (6(n-1)+1, 2), through `points`, shape (n, 2)."""
    knots = np.asarray(points, dtype=float)
    around = np.arange(len(knots) - 1)[:, None] + (-1, 0, 1, 2)
    segments = _spline_basis() @ knots[around.clip(0, len(knots) - 1)]
    return np.concatenate([segments.reshape(-1, 2), knots[-1:]])


def ellipse_outline(at: ArrayLike, radii: ArrayLike, angle: float = 0.0) -> Points:
    """Returns an ellipse's outline, shape (24, 2), turned by `angle` radians."""
    upright = _unit_circle() * np.asarray(radii)
    return (upright @ _turn(angle).T if angle else upright) + np.asarray(at)


def limb_outline(points: ArrayLike, widths: Sequence[float]) -> Points:
    """Returns the outline of a bent limb.

    Args:
        points: Points on the limb's centre line, shape (n, 2).
        widths: Its widths at equal steps from the first point to the last.
    """
    middle = open_curve(points)
    along = np.diff(middle, axis=0, append=2 * middle[-1:] - middle[-2:-1])
    normals = along[:, ::-1] * (-1, 1) / (np.hypot(along[:, :1], along[:, 1:]) + 1e-9)
    where = np.arange(len(middle)) * (len(widths) - 1) / (len(middle) - 1)
    half = np.interp(where, np.arange(len(widths)), widths)[:, None] / 2
    return np.concatenate([middle + normals * half, (middle - normals * half)[::-1]])


def shaggy(outline: Points, fluff: float, rng: np.random.Generator) -> Points:
    """Returns `outline` with tufts of up to 12 % of its radius, times `fluff`."""
    middle = outline.mean(axis=0)
    tufts = rng.uniform(-0.4, 1, len(outline)) * 0.12 * fluff
    return middle + (outline - middle) * (1 + tufts[:, None])


def _turn(angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


class Canvas:
    """Draws on an image in local coordinates: x to the right, y down, a unit = `scale` pixels."""

    def __init__(self, image: Image.Image, matrix: Points, origin: Points):
        self.image = image
        self._draw = ImageDraw.Draw(image)
        self._matrix = matrix
        self._origin = origin
        self._unit = float(np.hypot(*matrix[0]))

    @classmethod
    def blank(cls, side: int, mode: str = "RGBA") -> Canvas:
        """Returns a layer with coordinates from 0 to 1 along each side.

        It is transparent in mode RGBA and black in mode RGB.
        """
        pixels = side * SUPERSAMPLING
        image = Image.new(mode, (pixels, pixels))
        return cls(image, np.eye(2) * pixels, np.zeros(2))

    def framed(
        self, at: ArrayLike, *, scale: float = 1.0, angle: float = 0.0, mirror: bool = False
    ) -> Canvas:
        """Returns a canvas on the same image with another origin, unit and axes.

        Args:
            at: The new origin, in the coordinates of this canvas.
            scale: The new unit, in units of this canvas.
            angle: Clockwise rotation of the new axes, in radians.
            mirror: Whether the new x axis points to the left.
        """
        flip = np.diag([-1.0 if mirror else 1.0, 1.0])
        origin = self._matrix @ np.asarray(at, dtype=float) + self._origin
        return Canvas(self.image, self._matrix @ flip @ _turn(angle) * scale, origin)

    def _pixels(self, points: ArrayLike) -> list[float]:
        return (np.asarray(points) @ self._matrix.T + self._origin).ravel().tolist()

    def polygon(self, points: ArrayLike, fill: Colour) -> None:
        """Fills the polygon with corners `points`, shape (n, 2)."""
        self._draw.polygon(self._pixels(points), fill=fill)

    def ellipse(self, at: ArrayLike, radii: ArrayLike, fill: Colour, angle: float = 0.0) -> None:
        """Fills an ellipse turned by `angle` radians."""
        self.polygon(ellipse_outline(at, radii, angle), fill)

    def limb(self, points: ArrayLike, widths: Sequence[float], fill: Colour) -> None:
        """Fills a bent limb with round ends; see `limb_outline`."""
        self.polygon(limb_outline(points, widths), fill)
        ends = np.asarray(points, dtype=float)[[0, -1]]
        for end, width in zip(ends, (widths[0], widths[-1]), strict=True):
            self.ellipse(end, (width / 2, width / 2), fill)

    def line(self, points: ArrayLike, width: float, fill: Colour) -> None:
        """Draws a line of `width` units, at least one pixel of the layer."""
        pixels = max(1, round(width * self._unit))
        self._draw.line(self._pixels(points), fill=fill, width=pixels, joint="curve")

    def marks(self, within: Points, shapes: Iterable[Points], fill: Colour) -> None:
        """Fills polygons where they are inside the outline `within`."""
        inside, drawn = (Image.new("L", self.image.size) for _ in range(2))
        ImageDraw.Draw(inside).polygon(self._pixels(within), fill=255)
        brush = ImageDraw.Draw(drawn)
        for shape in shapes:
            brush.polygon(self._pixels(shape), fill=255)
        self.image.paste((*fill, 255), mask=ImageChops.multiply(inside, drawn))

    def finished(self) -> Image.Image:
        """Returns the layer, antialiased, at the size of the finished picture."""
        return self.image.reduce(SUPERSAMPLING)
