"""Draws the background and foreground of an animal; coordinates are from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from pipeline.sample.canvas import Canvas, Colour, Points, closed_curve, mixed, point, shaded

Place = Callable[[Canvas, float, np.random.Generator], None]
"""Draws the background, given the upper edge of the floor or ground."""
Cover = Callable[[Canvas, np.random.Generator], None]
"""Draws something in front of the animal."""

_WALLS: tuple[Colour, ...] = (
    (214, 200, 178), (178, 196, 190), (196, 178, 186),
    (168, 182, 206), (226, 218, 206), (150, 132, 112),
)  # fmt: skip
_CLOTH: tuple[Colour, ...] = (
    (150, 70, 62), (70, 98, 124), (96, 116, 86), (188, 152, 92), (118, 96, 120), (96, 92, 88),
)  # fmt: skip
_WOOD: tuple[Colour, ...] = ((156, 112, 72), (120, 82, 54), (190, 152, 108), (96, 74, 58))
_LEAVES: tuple[Colour, ...] = ((88, 124, 62), (112, 138, 66), (66, 100, 60), (134, 140, 84))
_SKIES: tuple[Colour, ...] = ((164, 198, 228), (196, 208, 216), (226, 206, 186), (140, 176, 214))


def _one_of(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """Returns one of the colours, slightly varied and muted."""
    colour = np.array(colours[rng.integers(len(colours))]) + rng.normal(0, 10, 3)
    # Half of the saturation is removed, so that the animal stands out.
    colour = (colour + colour.mean()) / 2
    red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
    return red, green, blue


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def draw_background(
    canvas: Canvas, ground: float, rng: np.random.Generator, *, outdoors: bool
) -> None:
    """Draws a random place, with its floor or ground from `ground` (0..1) downwards."""
    places = _OUTDOORS if outdoors else _INDOORS
    places[rng.integers(len(places))](canvas, ground, rng)


def draw_foreground(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a random object that hides a part of the picture."""
    _COVERS[rng.integers(len(_COVERS))](canvas, rng)


def _draw_living_room(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    wall = _one_of(_WALLS, rng)
    canvas.polygon(_box(0, 0, 1, ground), wall)
    if rng.random() < 0.5:
        for x in np.arange(rng.uniform(0, 0.1), 1, rng.uniform(0.08, 0.16)):
            canvas.polygon(_box(x, 0, x + 0.03, ground), shaded(wall, 0.93))
    _draw_boards(canvas, ground, rng)
    canvas.polygon(_box(0, ground - 0.03, 1, ground), shaded(wall, 1.15))
    if rng.random() < 0.5:
        _draw_window(canvas, (rng.uniform(0, 0.6), 0.06), ground, rng)
    if rng.random() < 0.5:
        _draw_picture(canvas, rng)
    if rng.random() < 0.6:
        _draw_sofa(canvas, ground, rng)
    if rng.random() < 0.5:
        _draw_rug(canvas, ground, rng)


def _draw_boards(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    wood = _one_of(_WOOD, rng)
    canvas.polygon(_box(0, ground, 1, 1), wood)
    for x in np.linspace(-0.8, 1.8, 14):
        canvas.line([(0.5 + (x - 0.5) * 0.5, ground), (x, 1)], 0.006, shaded(wood, 0.8))


def _draw_window(
    canvas: Canvas, corner: tuple[float, float], ground: float, rng: np.random.Generator
) -> None:
    left, top = corner
    right, bottom = left + rng.uniform(0.22, 0.4), top + 0.6 * ground
    canvas.polygon(_box(left, top, right, bottom), (232, 230, 224))
    canvas.polygon(_box(left + 0.02, top + 0.02, right - 0.02, bottom - 0.02), _one_of(_SKIES, rng))
    middle = (left + right) / 2
    canvas.polygon(_box(middle - 0.008, top, middle + 0.008, bottom), (232, 230, 224))


def _draw_picture(canvas: Canvas, rng: np.random.Generator) -> None:
    left, top = rng.uniform(0, 0.75), rng.uniform(0, 0.14)
    width, height = rng.uniform(0.12, 0.24, 2)
    canvas.polygon(_box(left, top, left + width, top + height), shaded(_one_of(_WOOD, rng), 0.7))
    inner = _box(left + 0.02, top + 0.02, left + width - 0.02, top + height - 0.02)
    canvas.polygon(inner, _one_of(_CLOTH, rng))


def _draw_sofa(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    cloth, left = _one_of(_CLOTH, rng), rng.uniform(-0.3, 0.4)
    top = ground - rng.uniform(0.2, 0.34)
    back = [(left, ground), (left, top + 0.04), (left + 0.35, top), (left + 0.7, top + 0.04)]
    canvas.polygon(closed_curve([*back, (left + 0.7, ground)]), shaded(cloth, 0.86))
    canvas.polygon(_box(left, ground - 0.1, left + 0.7, ground + 0.05), cloth)
    for x in (left - 0.03, left + 0.67):
        canvas.limb([(x, ground - 0.12), (x, ground + 0.05)], (0.1, 0.1), shaded(cloth, 1.12))


def _draw_rug(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    cloth, at = _one_of(_CLOTH, rng), (rng.uniform(0.3, 0.7), (ground + 1) / 2 + 0.05)
    radii = np.array((rng.uniform(0.3, 0.5), 0.13))
    canvas.ellipse(at, radii, shaded(cloth, 0.8))
    canvas.ellipse(at, radii * 0.86, mixed(cloth, (230, 220, 200), 0.3))


def _draw_kitchen(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    tile = mixed(_one_of(_WALLS, rng), (240, 240, 240), 0.4)
    canvas.polygon(_box(0, 0, 1, ground), tile)
    for at in np.arange(rng.uniform(0, 0.1), 1, 0.11):
        canvas.line([(at, 0), (at, ground)], 0.006, shaded(tile, 0.85))
        canvas.line([(0, at * ground), (1, at * ground)], 0.006, shaded(tile, 0.85))
    front, left = _one_of(_CLOTH, rng), rng.uniform(-0.2, 0.5)
    for x in (left, left + 0.25):
        canvas.polygon(_box(x, ground - 0.34, x + 0.24, ground), front)
        canvas.ellipse((x + 0.2, ground - 0.2), (0.012, 0.03), shaded(front, 0.5))
    canvas.polygon(_box(left - 0.02, ground - 0.38, left + 0.51, ground - 0.33), (210, 206, 200))
    _draw_chequers(canvas, ground, rng)


def _draw_chequers(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    light = _one_of(_WALLS, rng)
    canvas.polygon(_box(0, ground, 1, 1), light)
    dark = shaded(light, rng.uniform(0.55, 0.9))
    rows = ground + (1 - ground) * np.array((0.0, 0.22, 0.55, 1.0))
    for row, (top, bottom) in enumerate(pairwise(rows)):
        edges = np.linspace(-1, 2, 16)
        near, far = 0.5 + (edges - 0.5) * (0.4 + bottom), 0.5 + (edges - 0.5) * (0.4 + top)
        for i in range(row % 2, 15, 2):
            canvas.polygon(
                [(far[i], top), (far[i + 1], top), (near[i + 1], bottom), (near[i], bottom)], dark
            )


def _draw_garden(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    _draw_sky(canvas, ground, rng)
    _draw_hills(canvas, ground, rng)
    for _ in range(rng.integers(0, 4)):
        _draw_tree(canvas, ground, rng)
    if rng.random() < 0.4:
        _draw_fence(canvas, ground, rng)
    grass = _one_of(_LEAVES, rng)
    canvas.polygon(_box(0, ground, 1, 1), grass)
    for x, y in rng.uniform((0, ground), (1, 1), (60, 2)):
        tip = (x + rng.uniform(-0.02, 0.02), y - 0.03)
        canvas.line([(x, y), tip], 0.008, shaded(grass, rng.uniform(0.75, 1.25)))


def _draw_sky(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    sky = _one_of(_SKIES, rng)
    for i in range(8):
        band = _box(0, ground * i / 8, 1, ground * (i + 1) / 8 + 0.01)
        canvas.polygon(band, mixed(sky, (240, 238, 230), i / 10))
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, (1, 0.5 * ground))
        for shift in (-0.07, 0, 0.06):
            canvas.ellipse((x + shift, y), (0.08, 0.04), (244, 244, 244))


def _draw_hills(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    green = _one_of(_LEAVES, rng)
    for depth in (0.5, 0.25):
        xs = np.linspace(-0.1, 1.1, 7)
        ridge = ground - depth * 0.4 * rng.random(7)
        line = closed_curve([(-0.1, 1), *zip(xs, ridge, strict=True), (1.1, 1)])
        canvas.polygon(line, mixed(green, (196, 208, 214), depth))


def _draw_tree(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    x, size = rng.random(), rng.uniform(0.5, 1.0)
    trunk, leaves = _one_of(_WOOD, rng), _one_of(_LEAVES, rng)
    canvas.limb([(x, ground), (x, ground - 0.3 * size)], (0.07 * size, 0.05 * size), trunk)
    for dx, dy in rng.uniform(-0.12, 0.12, (5, 2)):
        at = (x + dx * size, ground - (0.38 + dy) * size)
        canvas.ellipse(at, (0.13 * size, 0.11 * size), shaded(leaves, rng.uniform(0.8, 1.1)))


def _draw_fence(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    wood = mixed(_one_of(_WOOD, rng), (236, 232, 224), rng.random())
    top = ground - rng.uniform(0.18, 0.3)
    for y in (top + 0.05, ground - 0.06):
        canvas.polygon(_box(0, y, 1, y + 0.025), shaded(wood, 0.85))
    for x in np.arange(rng.uniform(0, 0.09), 1, 0.09):
        post = [(x, ground + 0.02), (x, top), (x + 0.03, top - 0.03), (x + 0.06, top)]
        canvas.polygon([*post, (x + 0.06, ground + 0.02)], wood)


def _draw_street(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    _draw_sky(canvas, ground, rng)
    left = -0.1
    while left < 1:
        width, top = rng.uniform(0.22, 0.45), ground * rng.uniform(0.05, 0.45)
        _draw_house(canvas, _box(left, top, left + width, ground), rng)
        left += width
    stone = mixed(_one_of(_WALLS, rng), (110, 108, 106), 0.7)
    canvas.polygon(_box(0, ground, 1, 1), stone)
    canvas.polygon(_box(0, ground, 1, ground + 0.05), shaded(stone, 1.25))


def _draw_house(canvas: Canvas, wall: Points, rng: np.random.Generator) -> None:
    colour = mixed(_one_of(_WALLS, rng), _one_of(_CLOTH, rng), 0.4)
    canvas.polygon(wall, colour)
    (left, top), (right, bottom) = wall[0], wall[2]
    pane = shaded(_one_of(_SKIES, rng), rng.uniform(0.4, 0.9))
    for x in np.arange(left + 0.03, right - 0.07, 0.11):
        for y in np.arange(top + 0.04, bottom - 0.1, 0.15):
            canvas.polygon(_box(x, y, x + 0.065, y + 0.09), pane)


def _draw_beach(canvas: Canvas, ground: float, rng: np.random.Generator) -> None:
    _draw_sky(canvas, ground, rng)
    water = _one_of(((84, 136, 160), (96, 150, 156), (70, 112, 146)), rng)
    canvas.polygon(_box(0, ground - 0.16, 1, ground + 0.02), water)
    for x, y in rng.uniform((0, ground - 0.15), (1, ground), (8, 2)):
        canvas.line([(x, y), (x + 0.12, y)], 0.008, shaded(water, 1.25))
    sand = _one_of(((222, 200, 158), (206, 186, 150), (232, 234, 238)), rng)
    canvas.polygon(_box(0, ground, 1, 1), sand)
    for x, y in rng.uniform((0, ground), (1, 1), (14, 2)):
        canvas.ellipse((x, y), (0.05, 0.012), shaded(sand, 0.93))


_INDOORS: tuple[Place, ...] = (_draw_living_room, _draw_kitchen)
_OUTDOORS: tuple[Place, ...] = (_draw_garden, _draw_street, _draw_beach)


def _draw_grass(canvas: Canvas, rng: np.random.Generator) -> None:
    grass = _one_of(_LEAVES, rng)
    height = rng.uniform(0.12, 0.36)
    for x in np.linspace(-0.02, 1.02, 46) + rng.normal(0, 0.02, 46):
        tip = (x + rng.normal(0, 0.05), 1 - height * rng.uniform(0.5, 1.1))
        blade = [(x - 0.014, 1.02), tip, (x + 0.014, 1.02)]
        canvas.polygon(blade, shaded(grass, rng.uniform(0.6, 1.2)))


def _draw_cushion(canvas: Canvas, rng: np.random.Generator) -> None:
    cloth, at = _one_of(_CLOTH, rng), (rng.uniform(0.1, 0.9), rng.uniform(0.84, 0.98))
    radii = rng.uniform((0.18, 0.12), (0.34, 0.22))
    canvas.ellipse(at, radii, cloth, rng.normal(0, 0.2))
    canvas.ellipse(at, radii * (0.86, 0.7), shaded(cloth, 1.15), rng.normal(0, 0.2))


def _draw_post(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a table leg or a tree trunk over the whole height of the picture."""
    wood, x = _one_of(_WOOD, rng), rng.uniform(0.05, 0.95)
    width = rng.uniform(0.04, 0.14)
    canvas.polygon(_box(x, 0, x + width, 1), shaded(wood, 0.8))
    canvas.polygon(_box(x + 0.3 * width, 0, x + 0.5 * width, 1), wood)


def _draw_carton(canvas: Canvas, rng: np.random.Generator) -> None:
    card = _one_of(((188, 150, 104), (170, 134, 92)), rng)
    left, top = rng.uniform(0.05, 0.5), rng.uniform(0.66, 0.86)
    right = left + rng.uniform(0.3, 0.5)
    canvas.polygon(_box(left, top, right, 1.02), card)
    for side, out in ((left, -0.09), (right, 0.09)):
        canvas.polygon(
            [(side, top), (side + out, top + 0.09), (side, top + 0.13)], shaded(card, 0.8)
        )
    canvas.polygon(
        _box((left + right) / 2 - 0.03, top, (left + right) / 2 + 0.03, 1.02), shaded(card, 1.1)
    )


def _draw_leaves(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a potted plant that leans in from one side."""
    green, side = _one_of(_LEAVES, rng), float(rng.integers(2))
    root = np.array((side, 1.0))
    for _leaf in range(rng.integers(5, 10)):
        reach = rng.uniform((0.1, 0.15), (0.5, 0.75)) * (1 - 2 * side, -1)
        bow = root + reach * (0.4, 0.8)
        canvas.limb(
            [root, bow, root + reach], (0.02, 0.1, 0.01), shaded(green, rng.uniform(0.6, 1.1))
        )


def _draw_ball(canvas: Canvas, rng: np.random.Generator) -> None:
    colour, size = _one_of(_CLOTH, rng), rng.uniform(0.06, 0.12)
    at = np.array((rng.uniform(0.15, 0.85), rng.uniform(0.75, 1 - size)))
    canvas.ellipse(at, (size, size), shaded(colour, 1.2))
    canvas.ellipse(
        at + point(0, 0.1 * size), (size, 0.25 * size), (236, 230, 220), rng.normal(0, 0.8)
    )


_COVERS: tuple[Cover, ...] = (
    _draw_grass,
    _draw_cushion,
    _draw_post,
    _draw_carton,
    _draw_leaves,
    _draw_ball,
)
