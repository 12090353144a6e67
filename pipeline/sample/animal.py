"""Draws an animal: it stands on y = 0, faces right, and its torso is one unit long."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from pipeline.sample.breeds import Animal
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
from pipeline.sample.head import Look, draw_head

_FAR_SIDE = 0.74
"""How much darker the legs on the far side of the body are."""

# Outlines of the torso, starting at the paws; each pose scales its outline to the breed.
_STANDING = np.array((
    (0.52, -0.55), (0.38, -1), (0, -0.93), (-0.4, -0.98),
    (-0.53, -0.5), (-0.4, 0.04), (0, -0.06), (0.36, 0.1),
))  # fmt: skip
_SITTING = np.array((
    (-0.36, 0), (-0.45, -0.25), (-0.3, -0.6), (-0.04, -0.9),
    (0.2, -0.92), (0.31, -0.62), (0.2, -0.25), (0.16, 0),
))  # fmt: skip
_LYING = np.array((
    (0.46, 0), (0.52, -0.5), (0.34, -0.95), (0, -0.9),
    (-0.4, -0.95), (-0.62, -0.5), (-0.58, 0), (0, 0.02),
))  # fmt: skip
_FACING = symmetric([(0.02, -0.95), (0.2, -0.82), (0.27, -0.5), (0.33, -0.16), (0.16, 0)])
_SHOULDERS = symmetric([(0.2, -0.36), (0.38, -0.16), (0.42, 0.2)])

_COLLARS: tuple[Colour, ...] = ((206, 36, 44), (34, 84, 196), (228, 116, 20))
_BRASS: Colour = (226, 190, 84)

_TAILS: dict[str, tuple[float, tuple[float, ...]]] = {
    "slim": (0.78, (0.1, 0.1, 0.08)),
    "bushy": (0.66, (0.14, 0.3, 0.24, 0.08)),
    "whip": (0.66, (0.1, 0.07, 0.03)),
    "sabre": (0.62, (0.14, 0.16, 0.12, 0.05)),
}
"""The length of each tail and its widths from root to tip, in torso lengths."""


def draw_animal(animal: Animal, canvas: Canvas) -> None:
    """Draws the animal in a random pose."""
    names = list(_POSES)
    pose = animal.rng.choice(len(names), p=[_POSES[name][0] for name in names])
    _POSES[names[pose]][1](animal, canvas)


def _draw_standing(animal: Animal, canvas: Canvas) -> None:
    breed, rng = animal.breed, animal.rng
    leg, back = breed.leg, breed.leg + breed.thickness
    stride = rng.uniform(-0.16, 0.16)
    _draw_tail(animal, canvas, (-0.46, -back + 0.08), rng.uniform(-0.3, 1.1))
    _draw_legs(animal, canvas, -stride, _FAR_SIDE)
    _draw_torso(animal, canvas, _STANDING * (1, breed.thickness) - (0, leg))
    _draw_legs(animal, canvas, stride, 0.94)
    shoulder = point(0.4, -back + 0.1)
    lowered = rng.choice((0, 0, 0.3))
    head = shoulder + point(0.1 + 0.6 * breed.neck, lowered - 0.12 - breed.neck - 0.4 * breed.head)
    _join_head(animal, canvas, shoulder, head)
    _place_head(animal, canvas, head, _pick_look(animal))


def _draw_legs(animal: Animal, canvas: Canvas, stride: float, light: float) -> None:
    """Draws one front and one hind leg, `stride` ahead and behind of standing still."""
    breed, coat = animal.breed, animal.coat
    colour = shaded(coat.base, light)
    paw = shaded(coat.mark if coat.pattern == "points" else coat.light, light)
    hip = -breed.leg - 0.45 * breed.thickness
    slim = 0.11 + 0.05 * (breed.snout > 0.5) + 0.04 * breed.fluff
    front = [(0.36, hip), (0.36 + 0.5 * stride, -0.5 * breed.leg), (0.36 + stride, -0.04)]
    hind = [(-0.36, hip), (-0.3 - 0.5 * stride, -0.62 * breed.leg)]
    hind += [(-0.44 - stride, -0.36 * breed.leg), (-0.4 - stride, -0.04)]
    canvas.limb(hind, (0.34, 0.2, slim, slim * 0.9), colour)
    canvas.limb(front, (0.24, slim * 1.1, slim), colour)
    for x in (front[-1][0], hind[-1][0]):
        canvas.ellipse((x + 0.04, -0.04), (0.1, 0.055), paw)


def _draw_sitting(animal: Animal, canvas: Canvas) -> None:
    breed, coat = animal.breed, animal.coat
    wide, tall = 0.75 + 0.6 * breed.thickness, 0.62 + 0.6 * breed.leg
    _draw_tail(animal, canvas, (-0.36 * wide, -0.1), animal.rng.uniform(-0.5, 0.6))
    canvas.limb([(0.16, -0.5 * tall), (0.28, -0.04)], (0.2, 0.12), shaded(coat.base, _FAR_SIDE))
    _draw_torso(animal, canvas, _SITTING * (wide, tall))
    canvas.ellipse((-0.16, -0.2), (0.27 * wide, 0.22), shaded(coat.base, 0.9))
    canvas.ellipse((0.0, -0.04), (0.16, 0.06), shaded(coat.light, 0.86))
    canvas.limb([(0.2, -0.55 * tall), (0.24, -0.3), (0.22, -0.04)], (0.22, 0.13, 0.12), coat.base)
    canvas.ellipse((0.26, -0.04), (0.1, 0.06), coat.light)
    shoulder = point(0.1, -0.85 * tall)
    head = shoulder + point(0.06, -breed.neck - 0.75 * breed.head)
    _join_head(animal, canvas, shoulder, head)
    _place_head(animal, canvas, head, _pick_look(animal))


def _draw_facing(animal: Animal, canvas: Canvas, *, away: bool) -> None:
    """Draws the animal sitting with its chest, or its back, to the viewer."""
    breed, coat, rng = animal.breed, animal.coat, animal.rng
    wide, tall = 0.6 + 0.75 * breed.thickness, 0.7 + 0.6 * breed.leg
    behind = canvas.framed((0, 0), mirror=rng.random() < 0.5)
    _draw_tail(animal, behind, (-0.24, -0.1), rng.uniform(-0.4, 0.8))
    for side in (-1, 1):
        canvas.ellipse((side * 0.27 * wide, -0.16), (0.17, 0.17), shaded(coat.base, 0.84))
        canvas.ellipse((side * 0.34 * wide, -0.04), (0.13, 0.06), shaded(coat.light, 0.86))
    _draw_torso(animal, canvas, _FACING * (wide, tall))
    if not away:
        _draw_chest(animal, canvas, wide, tall)
    head = point(0, -0.92 * tall - breed.neck - 0.5 * breed.head)
    _join_head(animal, canvas, point(0, -0.8 * tall), head)
    look = Look(yaw=rng.uniform(-0.5, 0.5), away=away)
    _place_head(animal, canvas, head, look)


def _draw_chest(animal: Animal, canvas: Canvas, wide: float, tall: float) -> None:
    coat = animal.coat
    for side in (-1, 1):
        foot = (side * 0.11, -0.04)
        canvas.limb([(side * 0.13, -0.5 * tall), foot], (0.17, 0.12), shaded(coat.base, 0.95))
        canvas.ellipse(foot, (0.08, 0.055), coat.light)
    bib = ellipse_outline((0, -0.66 * tall), (0.15 * wide, 0.19 * tall))
    canvas.polygon(shaggy(bib, 1.0, animal.rng), coat.light)


def _draw_lying(animal: Animal, canvas: Canvas) -> None:
    breed, coat, rng = animal.breed, animal.coat, animal.rng
    tall = 0.24 + 0.5 * breed.thickness
    asleep = rng.random() < 0.4
    _draw_tail(animal, canvas, (-0.56, -0.1), rng.uniform(-0.6, 0.1))
    _draw_torso(animal, canvas, _LYING * (1, tall))
    canvas.ellipse((-0.36, -0.38 * tall), (0.24, 0.38 * tall), shaded(coat.base, 0.9))
    canvas.limb([(-0.4, -0.05), (-0.1, -0.05)], (0.12, 0.1), shaded(coat.light, 0.86))
    for depth, light in ((0.02, _FAR_SIDE), (-0.04, 0.96)):
        canvas.limb(
            [(0.32, -0.1 + depth), (0.76 - depth, -0.05)], (0.15, 0.11), shaded(coat.light, light)
        )
    lift = 0.55 if asleep else 1.0
    head = point(0.56, -lift * (tall + 0.3 * breed.neck + 0.3 * breed.head))
    _join_head(animal, canvas, point(0.36, -0.7 * tall), head)
    _place_head(animal, canvas, head, _pick_look(animal, asleep=asleep))


def _draw_portrait(animal: Animal, canvas: Canvas) -> None:
    """Draws head and shoulders; the head is as large as the torso in the other poses."""
    breed, coat, rng = animal.breed, animal.coat, animal.rng
    close = canvas.framed((0, 0.1), scale=1.55)
    _draw_torso(animal, close, _SHOULDERS)
    close.polygon(shaggy(ellipse_outline((0, -0.04), (0.17, 0.3)), breed.fluff, rng), coat.light)
    _place_head(animal, close, point(0, -0.44), Look(yaw=rng.uniform(-0.7, 0.7)))


_POSES: dict[str, tuple[float, Callable[[Animal, Canvas], None]]] = {
    "standing": (0.28, _draw_standing),
    "sitting": (0.22, _draw_sitting),
    "facing": (0.14, partial(_draw_facing, away=False)),
    "away": (0.05, partial(_draw_facing, away=True)),
    "lying": (0.18, _draw_lying),
    "portrait": (0.13, _draw_portrait),
}
"""The share of the images and the drawing function of each pose."""


def _pick_look(animal: Animal, *, asleep: bool = False) -> Look:
    return Look(
        yaw=float(animal.rng.uniform(-0.5, 1.0)),
        asleep=asleep,
        away=not asleep and animal.rng.random() < 0.08,
    )


def _place_head(animal: Animal, canvas: Canvas, at: Points, look: Look) -> None:
    size = animal.breed.head * animal.rng.uniform(0.94, 1.06)
    tilt = animal.rng.normal(0, 0.12)
    draw_head(animal, canvas.framed(at, scale=size, angle=tilt), look)


def _join_head(animal: Animal, canvas: Canvas, shoulder: Points, head: Points) -> None:
    breed, coat = animal.breed, animal.coat
    widths = (0.4 + 0.3 * breed.fluff, 0.3 + 0.3 * breed.fluff)
    canvas.limb([shoulder, head], widths, shaded(coat.base, 0.95))
    if animal.rng.random() < breed.collar:
        _draw_collar(animal, canvas, shoulder, head)


def _draw_collar(animal: Animal, canvas: Canvas, shoulder: Points, head: Points) -> None:
    """Draws a band across the neck, below the head, with a tag hanging from it."""
    along = (head - shoulder) / np.hypot(*(head - shoulder))
    throat = head - along * animal.breed.head * 1.06
    across = point(-along[1], along[0]) * (0.19 + 0.12 * animal.breed.fluff)
    colour = _COLLARS[animal.rng.integers(len(_COLLARS))]
    canvas.limb([throat - across, throat + 0.04 * along, throat + across], (0.13, 0.13), colour)
    canvas.ellipse(throat - 0.07 * along, (0.045, 0.05), _BRASS)


def _draw_torso(animal: Animal, canvas: Canvas, through: Points) -> None:
    outline = shaggy(closed_curve(through), animal.breed.fluff, animal.rng)
    canvas.polygon(outline, animal.coat.base)
    shapes = _markings(animal, outline)
    if shapes:
        canvas.marks(outline, shapes, animal.coat.mark)


def _markings(animal: Animal, outline: Points) -> list[Points]:
    """Returns the coat's markings on a torso of the given outline."""
    rng, pattern = animal.rng, animal.coat.pattern
    low, high = outline.min(axis=0), outline.max(axis=0)
    span = high - low

    def at(x: float, y: float) -> Points:
        return low + span * (x, y)

    if pattern == "tabby":
        xs = np.linspace(0.08, 0.92, 7) + rng.normal(0, 0.02, 7)
        return [ellipse_outline(at(x, 0.2), span * (0.025, 0.36), rng.normal(0.1, 0.1)) for x in xs]
    if pattern == "spots":
        centres = low + span * rng.random((20, 2))
        return [ellipse_outline(c, rng.uniform(0.045, 0.1, 2)) for c in centres]
    if pattern == "patches":
        centres = low + span * rng.random((3, 2))
        return [ellipse_outline(c, rng.uniform(0.1, 0.24, 2)) for c in centres]
    if pattern == "saddle":
        return [ellipse_outline(at(0.42, 0.12), span * (0.42, 0.4))]
    return []


def _draw_tail(animal: Animal, canvas: Canvas, root: ArrayLike, lift: float) -> None:
    """Draws the tail backwards (to the left) from its root, `lift` radians above level."""
    kind, coat = animal.breed.tail, animal.coat
    colour = coat.mark if coat.pattern == "points" else shaded(coat.base, 0.86)
    tail = canvas.framed(root, angle=lift)
    if kind == "curled":
        _draw_curled_tail(tail.framed((0, 0), angle=-lift + 0.2), coat.light, colour)
        return
    length, widths = _TAILS[kind]
    bend = animal.rng.uniform(-0.22, 0.3)
    line = [(0.06, 0), (-0.4 * length, bend * 0.3), (-0.75 * length, -bend), (-length, -bend * 1.6)]
    tail.limb(line, widths, colour)
    if coat.pattern == "tabby":
        for x in (0.55, 0.8):
            tail.ellipse((-x * length, -bend), (0.03, widths[1] / 2), coat.mark)


def _draw_curled_tail(canvas: Canvas, light: Colour, dark: Colour) -> None:
    curl = [(0, 0), (-0.22, -0.12), (-0.2, -0.36), (0.02, -0.4), (0.1, -0.26)]
    canvas.limb(curl, (0.16, 0.24, 0.26, 0.2, 0.1), dark)
    canvas.limb(curl[2:], (0.16, 0.14, 0.06), mixed(light, dark, 0.2))
