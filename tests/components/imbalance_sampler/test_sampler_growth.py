"""Stable draws of data that grows by fifty spans, of which a run takes all or the newest ten."""

import math
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampler_images import Image, place_in_memory

from components.imbalance_sampler.ledger import EMPTY

SPANS = 50
SPLITS = {
    "test": {"positive": 0.2, "negative": 0.2},
    "val": {"positive": 0.2, "negative": 0.2},
    "train": {"positive": 0.6, "negative": 0.6},
}
MAX_DISTANCE = 4
_BITS = 64


def make_span(rng: random.Random, number: int, earlier: Sequence[Image]) -> list[Image]:
    """Draws a span of any size and balance, in which some images resemble earlier ones."""
    share = rng.choice([0.02, 0.1, 0.3])
    return [
        make_image(rng, f"{number}-{place}", share, earlier)
        for place in range(rng.choice([1, 5, 30, 60]))
    ]


def make_image(rng: random.Random, name: str, share: float, earlier: Sequence[Image]) -> Image:
    class_name, label = ("dogs", 1) if rng.random() < share else ("cats", 0)
    value, group = rng.getrandbits(_BITS), f"owner-{rng.randrange(400)}"
    if earlier and rng.random() < 0.2:
        other = rng.choice(earlier)
        value, group = near(rng, other.hash or 0), rng.choice([group, other.group])
    return Image(name, class_name, label, hash=value, group=group)


def near(rng: random.Random, value: int) -> int:
    for bit in rng.sample(range(_BITS), rng.randrange(MAX_DISTANCE)):
        value ^= 1 << bit
    return value


def first_span(rng: random.Random) -> list[Image]:
    """A first span must be large enough to fill the splits."""
    return [
        Image(
            f"first-{n}", *(("dogs", 1) if n % 5 == 0 else ("cats", 0)), hash=rng.getrandbits(_BITS)
        )
        for n in range(300)
    ]


def splits_of(ids: dict[str, set[str]]) -> dict[str, str]:
    return {name: split for split in SPLITS for name in ids[split]}


def near_pairs(images: Sequence[Image]) -> list[tuple[str, str]]:
    hashes = np.array([image.hash for image in images], np.uint64)
    return [
        (image.id, images[other].id)
        for at, image in enumerate(images)
        for other in np.flatnonzero(np.bitwise_count(hashes[at + 1 :] ^ hashes[at]) <= MAX_DISTANCE)
        + at
        + 1
    ]


def check_counts(images: Sequence[Image], split_of: dict[str, str], held_back: set[str]) -> None:
    """A split has its share of each class, up to what chance gives a band, and a last unit."""
    total = Counter(image.label for image in images)
    found = Counter((split_of[image.id], image.label) for image in images if image.id in split_of)
    for split, sizes in SPLITS.items():
        for label, share in ((1, sizes["positive"]), (0, sizes["negative"])):
            expected = share * total[label]
            # Units, not images, are drawn; the largest of these data has about ten images.
            spread = 5 * math.sqrt(10 * expected) + 10
            assert abs(found[split, label] - expected) <= spread + len(held_back)


@pytest.mark.parametrize("window", [SPANS, 10])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), grouped=st.booleans())
def test_no_image_changes_its_split_in_fifty_spans_and_near_duplicates_stay_together(
    window, seed, grouped
):
    rng = random.Random(seed)
    spans: list[list[Image]] = [first_span(rng)]
    ever: dict[str, str] = {}
    before = EMPTY
    for number in range(1, SPANS + 1):
        earlier = [image for span in spans for image in span]
        spans.append(make_span(rng, number, earlier))
        # The first span is always taken, so that no split is short of the rare class.
        images = [image for span in [spans[0], *spans[1:][-window:]] for image in span]
        placed = place_in_memory(
            images,
            SPLITS,
            assignment="stable",
            grouped=grouped,
            before=before,
            max_distance=MAX_DISTANCE,
        )
        before, split_of = placed.ledger, splits_of(placed.ids)
        for name, split in split_of.items():
            assert ever.setdefault(name, split) == split
        check_counts(images, split_of, placed.ids["held_back"])
    # A near-duplicate that came 40 spans later included.
    everything = [image for span in spans for image in span]
    for one, other in near_pairs(everything):
        assert len({ever[name] for name in (one, other) if name in ever}) <= 1
    if grouped:
        of_group = {
            (image.group, ever[image.id])
            for image in everything
            if image.id in ever and image.group
        }
        assert len(of_group) == len({group for group, _ in of_group})
