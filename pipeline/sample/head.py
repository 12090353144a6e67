"""Draws an animal's head: the origin is the centre of the skull, the unit its radius."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sample.breeds import CATS, Animal
from pipeline.sample.canvas import (
    Canvas,
    Colour,
    Points,
    closed_curve,
    ellipse_outline,
    mixed,
    point,
    shaded,
    shaggy,
    symmetric,
)

_NOSE_BLACK: Colour = (34, 28, 30)
_NOSE_PINK: Colour = (206, 128, 124)
_TONGUE: Colour = (222, 104, 112)
_INNER_EAR: Colour = (214, 156, 146)


@dataclass(frozen=True)
class Look:
    """Pose of the head.

    Attributes:
        yaw: -1 (profile, towards the tail) to 1 (profile, forwards); 0 faces the viewer.
        asleep: Whether the eyes are closed.
        away: Whether the face is turned away from the viewer.
    """

    yaw: float
    asleep: bool = False
    away: bool = False


def draw_head(animal: Animal, canvas: Canvas, look: Look) -> None:
    """Draws the head on a canvas in the head's coordinates."""
    hanging = animal.breed.ears == "floppy"
    if not hanging:
        _draw_ears(animal, canvas, look)
    _draw_skull(animal, canvas)
    if not look.away:
        _draw_face(animal, canvas, look)
    if hanging:
        _draw_hanging_ears(animal, canvas, look)


def _draw_skull(animal: Animal, canvas: Canvas) -> None:
    breed, coat, rng = animal.breed, animal.coat, animal.rng
    cheeks = 1.02 + 0.16 * breed.fluff
    width = 1.04 if breed.label == CATS else 0.96
    skull = closed_curve(
        symmetric([(0.05, -0.95), (0.72 * width, -0.66), (cheeks * width, 0.16), (0.62, 0.78)])
    )
    skull = shaggy(skull, breed.fluff, rng)
    canvas.polygon(skull * 1.06, shaded(coat.base, 0.78))
    canvas.polygon(skull, coat.base)
    _draw_markings(animal, canvas, skull)


def _draw_markings(animal: Animal, canvas: Canvas, skull: Points) -> None:
    coat, rng = animal.coat, animal.rng
    if coat.pattern == "tabby":
        stripes = [ellipse_outline((x, -0.72), (0.07, 0.26)) for x in (-0.32, 0, 0.32)]
        sides = [
            ellipse_outline((side * 0.95, y), (0.3, 0.06), side * 0.25)
            for side in (-1, 1)
            for y in (0.1, 0.36)
        ]
        canvas.marks(skull, stripes + sides, coat.mark)
    elif coat.pattern == "patches":
        side = rng.choice((-1, 1))
        canvas.marks(skull, [ellipse_outline((side * 0.6, -0.6), (0.6, 0.7))], coat.mark)
    elif coat.pattern == "spots":
        spots = [
            ellipse_outline(rng.uniform(-0.9, 0.9, 2), rng.uniform(0.08, 0.18, 2)) for _ in range(9)
        ]
        canvas.marks(skull, spots, coat.mark)


def _draw_ears(animal: Animal, canvas: Canvas, look: Look) -> None:
    coat = animal.coat
    colour = coat.mark if coat.pattern in ("points", "saddle") else coat.base
    for side in (-1, 1):
        base = (side * 0.58 + 0.16 * look.yaw, -0.6)
        narrow = 1 - 0.45 * max(0.0, look.yaw * side)
        ear = canvas.framed(base, angle=side * animal.rng.uniform(0.22, 0.42))
        _draw_ear(animal, ear, narrow, colour, back=look.away)


def _draw_ear(animal: Animal, canvas: Canvas, narrow: float, colour: Colour, *, back: bool) -> None:
    """Draws an upright ear with its base at the origin and its tip upwards."""
    kind, length = animal.breed.ears, animal.breed.ear
    half = (0.36 if kind == "upright" else 0.44) * narrow
    if kind == "folded":
        canvas.ellipse((0, -0.1), (half, length * 0.55), shaded(colour, 0.78))
        canvas.polygon([(-half, -0.12), (half, -0.12), (0.1, 0.3)], shaded(colour, 0.92))
        return
    outer = symmetric([(0.05, -length), (half * 0.82, -0.35 * length), (half, 0.3)])
    canvas.polygon(outer * 1.06, shaded(colour, 0.76))
    canvas.polygon(outer, colour)
    if not back:
        inner = mixed(_INNER_EAR, animal.coat.base, animal.rng.uniform(0.1, 0.6))
        canvas.polygon(outer * (0.58, 0.74) + (0, 0.03), shaded(inner, 0.9))


def _draw_hanging_ears(animal: Animal, canvas: Canvas, look: Look) -> None:
    coat, length = animal.coat, animal.breed.ear
    dark = coat.mark if coat.pattern == "spots" else shaded(coat.base, 0.8)
    for side in (-1, 1):
        swing = animal.rng.uniform(-0.12, 0.12)
        x = side * (0.86 - 0.3 * max(0.0, look.yaw * side)) - 0.1 * look.yaw
        ear = closed_curve(
            [
                (x - side * 0.32, -0.72),
                (x + side * 0.12, -0.55),
                (x + side * (0.26 + swing), -0.5 + 0.8 * length),
                (x + side * swing, -0.3 + length),
                (x - side * 0.2, -0.5 + 0.8 * length),
            ]
        )
        canvas.polygon(ear * (1.05, 1.04), shaded(dark, 0.75))
        canvas.polygon(ear, dark)


def _draw_face(animal: Animal, canvas: Canvas, look: Look) -> None:
    centre = 0.34 * look.yaw
    _draw_muzzle(animal, canvas, look, centre)
    _draw_eyes(animal, canvas, look, centre)


def _draw_muzzle(animal: Animal, canvas: Canvas, look: Look, centre: float) -> None:
    breed, coat = animal.breed, animal.coat
    colour = coat.mark if coat.pattern == "points" else coat.light
    if coat.pattern == "points":
        canvas.ellipse((centre, 0.2), (0.56, 0.66), mixed(colour, coat.base, 0.25))
    elif coat.pattern == "saddle" and breed.ears == "floppy":
        canvas.limb([(centre, -0.85), (centre, 0.2)], (0.14, 0.3), coat.light)
    tip = centre + look.yaw * breed.snout
    drop = 0.4 + 0.06 * breed.snout
    size = breed.muzzle
    canvas.limb([(centre, 0.28), (tip, drop)], (2.3 * size, 2.12 * size), shaded(colour, 0.82))
    canvas.limb([(centre, 0.26), (tip, drop)], (2.2 * size, 2 * size), colour)
    nose = np.array((tip + 0.55 * size * look.yaw, drop - 0.45 * size))
    _draw_mouth(animal, canvas, nose)
    _draw_nose(animal, canvas, nose)


def _draw_nose(animal: Animal, canvas: Canvas, at: Points) -> None:
    breed, rng = animal.breed, animal.rng
    if breed.label == CATS:
        pink = rng.random() < 0.6 and animal.coat.pattern != "points"
        size = rng.uniform(0.11, 0.15)
        corners = np.array([(-1, -0.6), (1, -0.6), (0, 0.8)]) * size + at
        canvas.polygon(corners, _NOSE_PINK if pink else _NOSE_BLACK)
        return
    size = 0.18 if breed.snout > 0.5 else 0.13
    canvas.ellipse(at, (size * 1.15, size * 0.85), _NOSE_BLACK)
    canvas.ellipse(at + point(-0.05, -0.06), (0.05, 0.03), (120, 116, 118))


def _draw_mouth(animal: Animal, canvas: Canvas, nose: Points) -> None:
    breed, rng = animal.breed, animal.rng
    size = breed.muzzle
    line = shaded(animal.coat.light, 0.45)
    lip = nose + point(0, 0.62 * size)
    if rng.random() < breed.panting:
        _draw_tongue(canvas, lip, size, rng.uniform(0.55, 1.0))
    canvas.line([nose, lip], 0.05, line)
    for side in (-1, 1):
        corner = lip + point(side * 0.55 * size, 0.12 * size)
        canvas.line([lip, lip + point(side * 0.25 * size, 0.2 * size), corner], 0.05, line)
    if rng.random() < breed.whiskers:
        _draw_whiskers(animal, canvas, nose)


def _draw_tongue(canvas: Canvas, lip: Points, size: float, length: float) -> None:
    canvas.ellipse(lip + point(0, 0.3 * size), (0.6 * size, 0.42 * size), (70, 30, 34))
    root, tip = lip + point(0, 0.25 * size), lip + point(0.03, length * size)
    canvas.limb([root, tip], (0.5 * size, 0.56 * size), _TONGUE)


def _draw_whiskers(animal: Animal, canvas: Canvas, nose: Points) -> None:
    bright = sum(animal.coat.light) > 480
    colour = (88, 82, 78) if bright else (226, 224, 220)
    for side in (-1, 1):
        for slope in (-0.12, 0.04, 0.2):
            start = nose + point(side * 0.25, 0.16 + slope * 0.4)
            end = start + point(side * animal.rng.uniform(0.6, 0.95), slope)
            canvas.line([start, end], 0.02, colour)


def _draw_eyes(animal: Animal, canvas: Canvas, look: Look, centre: float) -> None:
    breed, rng = animal.breed, animal.rng
    iris = breed.eyes[rng.integers(len(breed.eyes))]
    open_wide = rng.uniform(0.7, 1.0)
    for side in (-1, 1):
        narrow = 1 - 0.55 * max(0.0, look.yaw * side)
        x = centre + side * 0.44 * narrow
        if abs(look.yaw) > 0.8 and look.yaw * side > 0:
            continue
        eye = canvas.framed((x, -0.14), mirror=side < 0)
        if look.asleep:
            eye.line([(-0.2, -0.02), (0, 0.07), (0.2, -0.02)], 0.06, shaded(animal.coat.base, 0.4))
        elif breed.label == CATS:
            _draw_cat_eye(eye, narrow, open_wide, iris)
        else:
            _draw_dog_eye(eye, narrow, iris)


def _draw_cat_eye(canvas: Canvas, narrow: float, open_wide: float, iris: Colour) -> None:
    canvas.ellipse((0, 0), (0.25 * narrow, 0.2 * open_wide), (30, 26, 24), -0.25)
    canvas.ellipse((0, 0), (0.2 * narrow, 0.16 * open_wide), iris, -0.25)
    canvas.ellipse((0, 0), (0.08 * (1.6 - open_wide), 0.15 * open_wide), (14, 12, 12))
    canvas.ellipse((-0.05, -0.06), (0.04, 0.04), (250, 250, 250))


def _draw_dog_eye(canvas: Canvas, narrow: float, iris: Colour) -> None:
    canvas.ellipse((0, 0), (0.18 * narrow, 0.17), (28, 20, 18))
    canvas.ellipse((0, 0.01), (0.13 * narrow, 0.12), iris)
    canvas.ellipse((0, 0), (0.07 * narrow, 0.07), (12, 10, 10))
    canvas.ellipse((-0.05, -0.06), (0.04, 0.04), (250, 250, 250))
