"""Properties that must hold for any images and any requests, tested with Hypothesis."""

import itertools
import random
from collections.abc import Iterator

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sampler_images import Image, census_of, place_in_memory

from components.imbalance_sampler.ledger import EMPTY
from components.imbalance_sampler.request import SamplingError, ShortageError, drawing_order
from components.imbalance_sampler.scores import score

CLASSES = {"birds": 0, "cats": 0, "dogs": 1}
IN_A_SPLIT = ("test", "train", "val")

OFTEN_NONE = st.one_of(st.just(""), st.integers(1, 12).map("shared-{}".format))
SIZES = st.fixed_dictionaries({name: st.integers(1, 4) for name in CLASSES})
SPLITS = st.fixed_dictionaries({"test": SIZES, "train": SIZES}, optional={"val": SIZES})
ONE_EACH = dict.fromkeys(CLASSES, 1)
SHARES = st.sampled_from([0.1, 0.2, 0.25, 0.3])
FRACTIONS = st.fixed_dictionaries(
    {
        split: st.fixed_dictionaries({"negative": SHARES, "positive": SHARES})
        for split in ("test", "train")
    }
)


@st.composite
def populations(draw) -> list[Image]:
    """Images of three classes, many of which share a scene or a group with images of any class."""
    kinds = draw(
        st.lists(
            st.tuples(st.sampled_from(sorted(CLASSES)), OFTEN_NONE, OFTEN_NONE),
            min_size=20,
            max_size=60,
        )
    )
    images = [
        Image(f"{number}", name, CLASSES[name], scene=scene, group=group)
        for number, (name, scene, group) in enumerate(kinds)
    ]
    # At least one of each class, so that every class can be requested.
    return images + [Image(f"one-{name}", name, label) for name, label in CLASSES.items()]


def place(images, splits, **options):
    """Returns the ids by split; discards the example if the groups don't allow the counts."""
    try:
        return place_in_memory(images, splits, **options).ids
    except SamplingError:
        assume(False)
        raise


def scenes_of(images):
    scenes = {image.id: image.scene or image.id for image in images}
    return scenes.__getitem__


def groups_of(images):
    groups = {image.id: image.group or ("of scene", image.scene or image.id) for image in images}
    return groups.__getitem__


def draw_one_by_one(images, splits):
    """Applies the exact rule image by image, over all images at once."""
    census = census_of(images)
    rank = {name: place for place, name in enumerate(census.classes)}
    units: dict[int, list[Image]] = {}
    for image in sorted(images, key=lambda image: score(42, image.id)):
        units.setdefault(score(42, image.hash_text or image.id), []).append(image)
    left = {name: [] for name in census.classes}
    for _, unit in sorted(units.items()):
        left[min((image.class_name for image in unit), key=rank.get)].append(unit)
    taken = {}
    for split in drawing_order(splits):
        missing = dict(splits[split])
        taken[split] = set()
        for name in sorted(missing, key=rank.get):
            while missing[name] > 0:
                for image in left[name].pop(0):
                    if missing.get(image.class_name, 0) > 0:
                        missing[image.class_name] -= 1
                        taken[split].add(image.id)
    return taken


def never_straddles(ids, key_of):
    """Returns whether no key has images in two splits, or in a split and in rest."""
    for split in IN_A_SPLIT:
        keys = {key_of(name) for name in ids.get(split, ())}
        for other in (*IN_A_SPLIT, "rest"):
            if other != split and keys & {key_of(name) for name in ids.get(other, ())}:
                return False
    return True


@settings(max_examples=80)
@given(populations(), SPLITS, st.integers(0, 6))
def test_exact_counts_with_whole_groups_equal_a_draw_one_by_one(images, splits, bits):
    ids = place(images, splits, bits=bits)
    class_of = {image.id: image.class_name for image in images}
    for split, requested in splits.items():
        classes = [class_of[name] for name in ids[split]]
        assert {name: classes.count(name) for name in requested} == requested
    assert sum(map(len, ids.values())) == len(set().union(*ids.values())) == len(images)
    assert never_straddles(ids, scenes_of(images))
    assert {split: ids[split] for split in splits} == draw_one_by_one(images, splits)


@settings(max_examples=30)
@given(populations(), SPLITS, st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(images, splits, rng: random.Random):
    ids = place(images, splits)
    assert place_in_memory(rng.sample(images, len(images)), splits).ids == ids


@settings(max_examples=30)
@given(populations(), SPLITS)
def test_neither_groups_nor_scenes_straddle_if_both_are_given(images, splits):
    ids = place(images, splits, grouped=True)
    assert never_straddles(ids, groups_of(images))
    assert never_straddles(ids, scenes_of(images))


@settings(max_examples=30)
@given(populations(), FRACTIONS)
def test_fractions_hold_nothing_back_and_never_straddle(images, splits):
    ids = place(images, splits)
    assert ids["held_back"] == set()
    assert never_straddles(ids, scenes_of(images))


ROUNDS = st.lists(
    st.tuples(
        # The new images: a hash of 16 bits, class and group.
        st.lists(
            st.tuples(
                st.integers(0, 2**16 - 1), st.sampled_from(sorted(CLASSES)), st.integers(0, 9)
            ),
            min_size=5,
            max_size=25,
        ),
        # Indices of the earlier images that are missing in this round.
        st.sets(st.integers(0, 60), max_size=20),
    ),
    min_size=2,
    max_size=4,
)
"""With hashes of 16 bits, about one pair in twenty-six is linked, and chains are long."""


def arrivals(rounds) -> Iterator[list[Image]]:
    """Yields the images of each round; a few images of each class are always present."""
    arrived = [
        Image(f"one-{name}-{number}", name, label, group=f"own-{name}-{number}")
        for name, label in CLASSES.items()
        for number in range(12)
    ]
    always = len(arrived)
    for number, (new, absent) in enumerate(rounds):
        arrived += [
            Image(f"{number}-{place}", name, CLASSES[name], hash=value, group=f"owner-{group}")
            for place, (value, name, group) in enumerate(new)
        ]
        yield [image for place, image in enumerate(arrived) if place - always not in absent]


def draw_in_turn(rounds, splits, grouped, rng=None) -> Iterator[tuple[list[Image], dict]]:
    """Yields the images of each round, and their ids by split of a stable draw."""
    before = EMPTY
    for images in arrivals(rounds):
        shown = rng.sample(images, len(images)) if rng else images
        placed = place_in_memory(
            shown, splits, assignment="stable", grouped=grouped, before=before, bits=2
        )
        before = placed.ledger
        yield images, placed.ids


def near_duplicates(images) -> Iterator[tuple[str, str]]:
    hashed = [image for image in images if image.hash is not None]
    for one, other in itertools.combinations(hashed, 2):
        if (one.hash ^ other.hash).bit_count() <= 4:
            yield one.id, other.id


BANDS = {
    "test": {"positive": 0.25, "negative": 0.25},
    "val": {"positive": 0.25, "negative": 0.25},
    "train": {"positive": 0.5, "negative": 0.5},
}


def some_rounds(rounds, splits, grouped, rng=None):
    try:
        return list(draw_in_turn(rounds, splits, grouped, rng))
    except ShortageError:
        assume(False)
        raise


@settings(max_examples=200)
@given(ROUNDS, st.booleans(), st.sampled_from([BANDS, {"test": ONE_EACH, "train": ONE_EACH}]))
def test_stable_images_never_change_split_when_images_come_and_go(rounds, grouped, splits):
    first_split: dict[str, str] = {}
    for images, ids in some_rounds(rounds, splits, grouped):
        split_of = {name: split for split in splits for name in ids[split]}
        for name, split in split_of.items():
            assert first_split.setdefault(name, split) == split
        for one, other in near_duplicates(images):
            assert len({split_of[name] for name in (one, other) if name in split_of}) <= 1
        if grouped:
            groups = groups_of(images)
            assert len({(groups(name), split) for name, split in split_of.items()}) == len(
                {groups(name) for name in split_of}
            )


@settings(max_examples=50)
@given(ROUNDS, st.booleans(), st.randoms(use_true_random=False))
def test_stable_draws_do_not_depend_on_the_order_of_the_images(rounds, grouped, rng):
    expected = some_rounds(rounds, BANDS, grouped)
    shuffled = draw_in_turn(rounds, BANDS, grouped, rng)
    for (_, ids), (_, other) in zip(expected, shuffled, strict=True):
        assert ids == other


@settings(max_examples=50)
@given(ROUNDS, st.booleans())
def test_a_repeated_stable_draw_is_the_same(rounds, grouped):
    *_, images = arrivals(rounds)
    options = {"assignment": "stable", "grouped": grouped}
    try:
        first = place_in_memory(images, BANDS, **options)
    except ShortageError:
        assume(False)
        raise
    again = place_in_memory(images, BANDS, **options, before=first.ledger)
    assert again.ids == first.ids
    assert again.ledger.digest == first.ledger.digest


@settings(max_examples=30)
@given(populations(), SPLITS)
def test_a_larger_train_moves_no_image_of_test_or_val(images, splits):
    larger = {name: count + 1 for name, count in splits["train"].items()}
    before = place(images, splits)
    after = place(images, splits | {"train": larger})
    for split in set(splits) - {"train"}:
        assert after[split] == before[split]
