"""Draws one picture of the sample data set: a place, an animal in it, and the lighting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.sample.animal import draw_animal
from pipeline.sample.breeds import Breed, pick_animal
from pipeline.sample.canvas import Canvas
from pipeline.sample.surroundings import draw_background, draw_foreground

Pixels = NDArray[np.float32]

DAY = "day"
NIGHT = "night"
NIGHT_SHARE = 0.2
"""Share of night pictures."""


def draw_scene(breed: Breed, lighting: str, side: int, rng: np.random.Generator) -> Image.Image:
    """Draws an animal of the breed in a random place.

    Args:
        breed: Breed of the animal.
        lighting: `DAY` or `NIGHT`.
        side: Width and height in pixels.
        rng: Determines everything else; the same state gives the same picture.

    Returns:
        An RGB image of `side` by `side` pixels.
    """
    ground = rng.uniform(0.45, 0.7)
    picture = _backdrop(breed, ground, side, rng)
    picture = _with_animal(picture, breed, ground, rng)
    if rng.random() < 0.35:
        picture = _with_foreground(picture, rng)
    return _photographed(picture, lighting, rng)


def _backdrop(breed: Breed, ground: float, side: int, rng: np.random.Generator) -> Image.Image:
    canvas = Canvas.blank(side, "RGB")
    draw_background(canvas, ground, rng, outdoors=rng.random() < breed.outdoors)
    return canvas.finished().filter(ImageFilter.BoxBlur(rng.uniform(0, 0.018) * side))


def _with_animal(
    picture: Image.Image, breed: Breed, ground: float, rng: np.random.Generator
) -> Image.Image:
    side = picture.width
    canvas = Canvas.blank(side)
    size, mirror = rng.uniform(0.44, 0.62), rng.random() < 0.5
    # Shifted backwards, so that the head is rarely outside the picture.
    across = rng.uniform(0.42, 0.58) + (0.16 if mirror else -0.16) * size
    down = np.clip(ground + rng.uniform(0.1, 0.24) + 0.25 * size, 1.4 * size, 0.97)
    frame = canvas.framed((across, down), scale=size, angle=rng.normal(0, 0.05), mirror=mirror)
    draw_animal(pick_animal(breed, rng), frame)
    layer = canvas.finished()
    alpha = layer.getchannel("A")
    _cast_shadow(picture, alpha)
    picture.paste(_furry(layer.convert("RGB"), alpha, rng), mask=alpha)
    return picture


def _cast_shadow(picture: Image.Image, alpha: Image.Image) -> None:
    """Darkens the ground below the outline `alpha`, in place."""
    box = alpha.getbbox()
    if box is None:
        return
    left, _, right, bottom = box
    height = max(2, (right - left) // 7)
    shadow = Image.new("L", picture.size)
    flat = alpha.crop(box).resize((right - left, height))
    shadow.paste(flat.point(lambda level: level * 0.5), (left, bottom - height * 4 // 5))
    soft = shadow.filter(ImageFilter.BoxBlur(0.025 * picture.width))
    picture.paste((20, 18, 22), mask=soft)


def _furry(animal: Image.Image, alpha: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shades the flat colours with light from above and adds strands of fur."""
    side = animal.width
    solid = np.asarray(alpha.filter(ImageFilter.BoxBlur(0.06 * side)), dtype=np.float32) / 255
    down, right = np.gradient(solid)
    relief = side * (0.05 * down + rng.uniform(-0.04, 0.04) * right)
    strands = rng.standard_normal((side, side), dtype=np.float32)
    strands = strands + np.roll(strands, 1, axis=0) + np.roll(strands, 2, axis=0)
    light = 0.95 + np.clip(relief, -0.3, 0.25) + 0.045 * strands
    colours = np.asarray(animal, dtype=np.float32) * light[..., None]
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))


def _with_foreground(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    canvas = Canvas.blank(picture.width)
    draw_foreground(canvas, rng)
    layer = canvas.finished().filter(ImageFilter.BoxBlur(rng.uniform(0, 0.012) * picture.width))
    picture.paste(layer.convert("RGB"), mask=layer.getchannel("A"))
    return picture


def _photographed(picture: Image.Image, lighting: str, rng: np.random.Generator) -> Image.Image:
    """Adds the blur of the lens, the colour of the light and the noise of the sensor."""
    picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0, 0.01) * picture.width))
    pixels = np.asarray(picture, dtype=np.float32)
    lit = _by_night(pixels, rng) if lighting == NIGHT else _by_day(pixels, rng)
    grain = rng.standard_normal(pixels.shape, dtype=np.float32)
    noise = rng.uniform(2, 7) if lighting == DAY else rng.uniform(4, 9)
    return Image.fromarray(np.clip(lit + noise * grain, 0, 255).astype(np.uint8))


def _by_day(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    contrast, cast = rng.uniform(0.85, 1.1), rng.normal(1, 0.03, 3).astype(np.float32)
    return (128 + (pixels - 128) * contrast + rng.uniform(-14, 14)) * cast


def _by_night(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Applies moonlight or the light of a warm lamp, brightest around one point."""
    side = len(pixels)
    at = np.linspace(0, 1, side, dtype=np.float32)
    x, y = rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.7)
    away = (at[None, :] - x) ** 2 + (at[:, None] - y) ** 2
    glow = 0.55 + 0.75 * np.exp(-away / rng.uniform(0.08, 0.3))
    cast = (0.78, 0.86, 1.12) if rng.random() < 0.75 else (1.1, 0.88, 0.66)
    light = glow[..., None] * np.array(cast, dtype=np.float32) * rng.uniform(0.42, 0.62)
    grey = pixels.mean(axis=2, keepdims=True)
    return (grey + (pixels - grey) * 0.85) * light
