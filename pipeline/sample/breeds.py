"""The breeds of the sample data set: the build, coats and share of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pipeline.sample.canvas import Colour, shaded

CATS = "cats"
DOGS = "dogs"

Ears = Literal["pointed", "upright", "folded", "floppy"]
Tail = Literal["slim", "bushy", "curled", "whip", "sabre"]
Pattern = Literal["plain", "tabby", "points", "patches", "spots", "saddle"]


@dataclass(frozen=True)
class Coat:
    """Colours of the fur: of the body, of muzzle and chest, and of the markings."""

    base: Colour
    light: Colour
    mark: Colour
    pattern: Pattern = "plain"


@dataclass(frozen=True)
class Breed:
    """The build of a breed. Body lengths are in torso lengths, head lengths in head radii.

    Attributes:
        share: Share of the class's images that show this breed.
        thickness: Height of the torso.
        leg: Length of the legs below the torso.
        neck: Length of the neck.
        head: Radius of the head.
        fluff: 0 for a short coat, 1 for a coat that blurs the whole outline.
        ear: Length of the ears.
        snout: How far the muzzle protrudes in profile.
        muzzle: Radius of the muzzle seen from the front.
        whiskers: Share of images with whiskers.
        panting: Share of images with the tongue out.
        collar: Share of images with a collar.
        outdoors: Share of outdoor images.
        eyes: Possible colours of the eyes.
    """

    name: str
    label: str
    share: float
    coats: tuple[Coat, ...]
    eyes: tuple[Colour, ...]
    ears: Ears
    tail: Tail
    thickness: float = 0.42
    leg: float = 0.4
    neck: float = 0.12
    head: float = 0.33
    fluff: float = 0.1
    ear: float = 0.75
    snout: float = 0.2
    muzzle: float = 0.34
    whiskers: float = 0.9
    panting: float = 0.0
    collar: float = 0.04
    outdoors: float = 0.4


_GREEN, _AMBER, _BLUE = (122, 158, 62), (206, 152, 42), (92, 150, 204)
_BROWN, _DARK = (84, 50, 26), (36, 26, 22)

_WHITE, _CREAM, _GINGER = (236, 232, 224), (226, 204, 166), (204, 126, 62)
_GREY, _SLATE, _BLACK = (140, 138, 138), (94, 98, 106), (44, 42, 44)
_TAN, _CHOCOLATE, _SABLE = (184, 134, 82), (132, 80, 46), (120, 88, 56)

_TABBY = Breed(
    name="tabby",
    label=CATS,
    share=0.34,
    coats=(
        Coat((156, 148, 134), (222, 214, 202), (78, 70, 62), "tabby"),
        Coat(_GREY, (206, 204, 200), (66, 64, 66), "tabby"),
        Coat((122, 118, 112), (212, 208, 202), (54, 52, 50), "tabby"),
    ),
    eyes=(_GREEN, _AMBER),
    ears="pointed",
    tail="slim",
)

_CAT_BREEDS = (
    _TABBY,
    replace(
        _TABBY,
        name="shorthair",
        share=0.26,
        coats=(
            Coat(_BLACK, (58, 56, 58), _BLACK),
            Coat(_SLATE, (116, 120, 128), _SLATE),
            Coat(_WHITE, _WHITE, _BLACK, "patches"),
            Coat(_BLACK, _WHITE, _WHITE),
        ),
        head=0.34,
    ),
    replace(
        _TABBY,
        name="siamese",
        share=0.16,
        coats=(Coat(_CREAM, (236, 224, 202), (82, 58, 46), "points"),),
        eyes=(_BLUE,),
        thickness=0.34,
        leg=0.44,
        neck=0.18,
        head=0.35,
        ear=0.95,
        fluff=0.0,
    ),
    replace(
        _TABBY,
        name="persian",
        share=0.14,
        coats=(
            Coat(_CREAM, _WHITE, _TAN),
            Coat(_SLATE, (138, 142, 150), _SLATE),
            Coat(_GREY, (188, 186, 184), _SLATE),
        ),
        eyes=(_AMBER, _BLUE),
        tail="bushy",
        thickness=0.48,
        leg=0.3,
        neck=0.06,
        head=0.35,
        fluff=0.9,
        ear=0.5,
        snout=0.08,
    ),
    replace(
        _TABBY,
        name="fold",
        share=0.085,
        coats=(
            Coat(_SLATE, (138, 142, 150), _SLATE),
            Coat(_GREY, _WHITE, (84, 82, 84), "tabby"),
        ),
        eyes=(_AMBER,),
        ears="folded",
        thickness=0.46,
        leg=0.34,
        head=0.35,
        fluff=0.3,
        ear=0.42,
    ),
    # Rare, with the colours of many dogs.
    replace(
        _TABBY,
        name="ginger",
        share=0.015,
        coats=(Coat((210, 146, 94), (240, 214, 178), (158, 96, 56), "tabby"),),
    ),
)

_RETRIEVER = Breed(
    name="retriever",
    label=DOGS,
    share=0.32,
    coats=(
        Coat((214, 172, 108), (234, 206, 158), _TAN),
        Coat((196, 146, 84), (226, 190, 138), _TAN),
        Coat(_CHOCOLATE, (160, 108, 70), _CHOCOLATE),
    ),
    eyes=(_BROWN, _DARK),
    ears="floppy",
    tail="sabre",
    thickness=0.44,
    leg=0.46,
    neck=0.2,
    head=0.32,
    fluff=0.25,
    ear=0.8,
    snout=0.75,
    muzzle=0.46,
    whiskers=0.1,
    panting=0.45,
    collar=0.85,
    outdoors=0.75,
)

_DOG_BREEDS = (
    _RETRIEVER,
    replace(
        _RETRIEVER,
        name="beagle",
        share=0.28,
        coats=(
            Coat((188, 122, 66), _WHITE, (52, 44, 42), "saddle"),
            Coat(_GINGER, _WHITE, _SABLE, "saddle"),
        ),
        leg=0.36,
        ear=1.0,
        fluff=0.05,
        snout=0.65,
    ),
    replace(
        _RETRIEVER,
        name="dalmatian",
        share=0.12,
        coats=(
            Coat(_WHITE, _WHITE, _BLACK, "spots"),
            Coat(_WHITE, _WHITE, _CHOCOLATE, "spots"),
        ),
        tail="whip",
        thickness=0.38,
        leg=0.52,
        ear=0.7,
        fluff=0.0,
    ),
    replace(
        _RETRIEVER,
        name="shepherd",
        share=0.18,
        coats=(
            Coat((192, 132, 68), (206, 156, 98), (48, 42, 40), "saddle"),
            Coat((158, 106, 60), _TAN, _BLACK, "saddle"),
        ),
        ears="upright",
        tail="bushy",
        ear=0.9,
        snout=0.8,
        fluff=0.35,
    ),
    # Rare and similar to a cat: the hardest slice for a model.
    replace(
        _RETRIEVER,
        name="spitz",
        share=0.1,
        coats=(
            Coat(_GINGER, _WHITE, (172, 98, 46)),
            Coat(_CREAM, _WHITE, _TAN),
            Coat(_SLATE, (166, 168, 174), _SLATE),
            Coat(_GREY, (206, 204, 200), _SLATE),
        ),
        eyes=(_DARK, _AMBER),
        ears="pointed",
        tail="curled",
        thickness=0.44,
        leg=0.34,
        neck=0.1,
        head=0.33,
        fluff=0.7,
        ear=0.62,
        snout=0.3,
        muzzle=0.36,
        whiskers=0.4,
        panting=0.3,
        collar=0.25,
        outdoors=0.4,
    ),
)

BREEDS: dict[str, tuple[Breed, ...]] = {CATS: _CAT_BREEDS, DOGS: _DOG_BREEDS}
"""The breeds of each class; their shares add up to 1."""


@dataclass(frozen=True)
class Animal:
    """An animal to draw: its breed, its coat and its random generator."""

    breed: Breed
    coat: Coat
    rng: np.random.Generator


def pick_animal(breed: Breed, rng: np.random.Generator) -> Animal:
    """Returns an animal with a random coat of the breed, slightly lighter or darker."""
    coat, light = breed.coats[rng.integers(len(breed.coats))], rng.uniform(0.92, 1.08)
    varied = replace(
        coat,
        base=shaded(coat.base, light),
        light=shaded(coat.light, light),
        mark=shaded(coat.mark, light),
    )
    return Animal(breed, varied, rng)
