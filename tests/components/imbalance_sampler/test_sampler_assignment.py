import hashlib
import random
import re

import pytest
from sampler_images import Image, cats_and_dogs, make_images, place_in_memory

from components.imbalance_sampler.request import SamplingError
from components.imbalance_sampler.scores import score

SPLITS = {
    "train": {"cats": 50, "dogs": 5},
    "val": {"cats": 20, "dogs": 2},
    "test": {"cats": 20, "dogs": 2},
}


def refused(message: str):
    return pytest.raises(SamplingError, match=re.escape(message))


def counts(ids):
    """Counts a set of ids such as 'cats-7' by class."""
    classes = [name.rpartition("-")[0] for name in ids]
    return {name: classes.count(name) for name in set(classes)}


def test_a_score_is_the_first_63_bits_of_sha256_of_seed_and_identity():
    digest = hashlib.sha256(b"42/b5").digest()
    assert score(42, "b5") == int.from_bytes(digest, "big") >> 193


def test_every_split_has_the_requested_counts_and_shares_no_image():
    images = cats_and_dogs(200, 20)
    ids = place_in_memory(images, SPLITS).ids
    for split, requested in SPLITS.items():
        assert counts(ids[split]) == requested
    assert counts(ids["rest"]) == {"cats": 110, "dogs": 11}
    assert ids["held_back"] == set()
    assert sum(map(len, ids.values())) == len(set().union(*ids.values())) == len(images)


def test_all_images_can_be_drawn():
    ids = place_in_memory(cats_and_dogs(90, 9), SPLITS).ids
    assert ids["rest"] == ids["held_back"] == set()


def test_each_class_is_drawn_in_the_order_of_its_scores_test_first():
    images = cats_and_dogs(90, 9)
    ids = place_in_memory(images, SPLITS).ids
    in_order = sorted((f"dogs-{n}" for n in range(9)), key=lambda name: score(42, name))
    assert ids["test"] & set(in_order) == set(in_order[:2])
    assert ids["val"] & set(in_order) == set(in_order[2:4])
    assert ids["train"] & set(in_order) == set(in_order[4:])


def test_seed_42_draws_these_images():
    ids = place_in_memory(cats_and_dogs(20, 6), {"test": {"cats": 3, "dogs": 2}}).ids
    assert ids["test"] == {"cats-11", "cats-15", "cats-19", "dogs-1", "dogs-4"}


def test_another_seed_draws_other_images():
    images = cats_and_dogs(200, 20)
    assert (
        place_in_memory(images, SPLITS).ids != place_in_memory(images, SPLITS, random_state=7).ids
    )


def test_the_order_of_the_images_and_the_number_of_buckets_do_not_matter():
    images = cats_and_dogs(200, 20)
    shuffled = random.Random(0).sample(images, len(images))
    first = place_in_memory(images, SPLITS, bits=0)
    assert place_in_memory(shuffled, SPLITS, bits=8).ids == first.ids


@pytest.mark.parametrize("train", [{"cats": 5, "dogs": 1}, {"cats": 0.6, "dogs": 0.5}])
def test_test_and_val_stay_the_same_when_train_changes(train):
    images = cats_and_dogs(200, 20)
    before = place_in_memory(images, SPLITS).ids
    after = place_in_memory(images, SPLITS | {"train": train}).ids
    assert after["train"] != before["train"]
    assert after["test"] == before["test"]
    assert after["val"] == before["val"]


def test_fractions_are_of_all_images_and_lose_none_to_rounding():
    splits = {
        name: {"cats": share, "dogs": share}
        for name, share in {"train": 0.7, "val": 0.15, "test": 0.15}.items()
    }
    ids = place_in_memory(cats_and_dogs(103, 10), splits).ids
    assert counts(ids["test"]) == {"cats": 15, "dogs": 2}
    assert counts(ids["val"]) == {"cats": 16, "dogs": 1}
    assert counts(ids["train"]) == {"cats": 72, "dogs": 7}
    assert ids["rest"] == set()


def test_negative_draws_from_all_negative_classes_as_from_one_class():
    images = make_images("cats", 60) + make_images("birds", 30) + make_images("dogs", 9, label=1)
    splits = {"test": {"negative": 40, "positive": 3}, "train": {"birds": 10, "dogs": 6}}
    ids = place_in_memory(images, splits).ids
    negatives = sorted(
        (image.id for image in images if not image.label), key=lambda name: score(42, name)
    )
    assert {name for name in ids["test"] if not name.startswith("dogs")} == set(negatives[:40])
    assert counts(ids["train"]) == {"birds": 10, "dogs": 6}
    assert not ids["train"] & ids["test"]


def test_a_side_continues_after_the_last_image_drawn_of_each_class():
    images = make_images("cats", 30) + make_images("birds", 30) + make_images("dogs", 9, label=1)
    splits = {
        "test": {"cats": 20, "dogs": 3},
        # The first five are all birds, as only cats with high scores are left.
        "val": {"negative": 5, "dogs": 3},
        "train": {"negative": 35, "dogs": 3},
    }
    ids = place_in_memory(images, splits).ids
    assert counts(ids["val"]) == {"birds": 5, "dogs": 3}
    assert counts(ids["train"]) == {"cats": 10, "birds": 25, "dogs": 3}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            SPLITS | {"train": {"cats": 50, "dogs": 17}},
            "split 'train' asks for 17 of class 'dogs', 16 are left after 'test' and 'val', "
            "1 too few; request fewer, or use {total, ratio}",
        ),
        (
            {"test": {"cats": 201, "dogs": 1}},
            "asks for 201 of class 'cats', 200 are left, 1 too few",
        ),
        (
            {"test": {"cats": 150, "dogs": 1}, "train": {"cats": 0.5, "dogs": 1}},
            "split 'train' asks for 100 of class 'cats', 50 are left after 'test'",
        ),
        (
            {"test": {"cats": 1, "dogs": 0.01}},
            "fraction of 'dogs' must give at least 1 of the 20",
        ),
        ({"test": {"cats": 1, "dgos": 1}}, "Received: 'dgos'"),
        ({"test": {"cats": 1}}, "split 'test' has no positive image"),
    ],
)
def test_a_request_for_more_images_than_are_left_is_refused_with_their_number(splits, message):
    with refused(message):
        place_in_memory(cats_and_dogs(200, 20), splits)


@pytest.mark.parametrize("assignment", ["exact", "stable"])
def test_a_class_of_size_0_is_not_drawn(assignment):
    images = make_images("cats", 60) + make_images("birds", 60) + make_images("dogs", 60, label=1)
    splits = {"test": {"cats": 5, "birds": 0, "dogs": 5}}
    ids = place_in_memory(images, splits, assignment=assignment).ids
    assert counts(ids["test"]) == {"cats": 5, "dogs": 5}


def test_a_side_that_requests_more_than_its_classes_have_is_refused():
    images = make_images("cats", 30) + make_images("birds", 30) + make_images("dogs", 9, label=1)
    splits = {"test": {"cats": 20, "dogs": 3}, "train": {"negative": 41, "dogs": 6}}
    with refused("split 'train' asks for 41 of side 'negative', 40 are left after 'test'"):
        place_in_memory(images, splits)


def test_near_duplicates_stay_together_and_the_surplus_is_held_back():
    images = [Image(f"cats-{n}", scene=f"scene-{n // 4}") for n in range(80)]
    images += make_images("dogs", 10, label=1)
    ids = place_in_memory(
        images, {"test": {"cats": 10, "dogs": 1}, "train": {"cats": 30, "dogs": 1}}
    ).ids
    assert counts(ids["test"])["cats"] == 10
    assert counts(ids["train"])["cats"] == 30
    assert counts(ids["held_back"]) == {"cats": 2 + 2}
    scenes = {split: {int(name[5:]) // 4 for name in ids[split] if name[0] == "c"} for split in ids}
    assert not scenes["test"] & scenes["train"]
    assert scenes["held_back"] <= scenes["test"] | scenes["train"]
    assert not scenes["rest"] & (scenes["test"] | scenes["train"])


def test_the_error_of_a_shortage_caused_by_groups_gives_the_blocked_images():
    images = [Image(f"cats-{n}", scene="same") for n in range(50)] + make_images("dogs", 5, label=1)
    splits = {"test": {"cats": 10, "dogs": 1}, "train": {"cats": 20, "dogs": 1}}
    with refused(
        "split 'train' asks for 20 of class 'cats', 0 are left after 'test' (40 more can't be "
        "taken because of their groups or near-duplicates)"
    ):
        place_in_memory(images, splits)


def test_a_fraction_takes_whole_groups_and_holds_no_image_back():
    images = [Image(f"cats-{n}", scene=f"scene-{n // 7}") for n in range(70)]
    images += make_images("dogs", 10, label=1)
    splits = {"test": {"cats": 0.5, "dogs": 0.5}, "train": {"cats": 0.5, "dogs": 0.5}}
    placed = place_in_memory(images, {**splits, "test": {"cats": 0.2, "dogs": 0.5}})
    assert counts(placed.ids["test"])["cats"] == 14
    assert counts(place_in_memory(images, {"test": {"cats": 0.15, "dogs": 0.5}}).ids["test"]) == {
        "cats": 14,
        "dogs": 5,
    }
    ids = place_in_memory(images, splits).ids
    assert counts(ids["test"])["cats"] == counts(ids["train"])["cats"] == 35
    assert ids["held_back"] == ids["rest"] == set()


def test_a_group_of_mixed_classes_follows_its_rarest_and_counts_towards_both_sizes():
    images = [Image(f"cats-{n}", scene=f"scene-{n}") for n in range(40)]
    images += [Image(f"dogs-{n}", "dogs", 1, scene=f"scene-{n}") for n in range(10)]
    splits = {"test": {"cats": 3, "dogs": 5}, "train": {"cats": 20, "dogs": 5}}
    ids = place_in_memory(images, splits).ids
    assert counts(ids["test"]) == splits["test"]
    assert counts(ids["train"]) == splits["train"]
    for split in ("test", "train"):
        dogs = {int(name[5:]) for name in ids[split] if name.startswith("dogs")}
        cats = {int(name[5:]) for name in ids[split] if name.startswith("cats")}
        other = "train" if split == "test" else "test"
        assert not dogs & {int(name[5:]) for name in ids[other]}
        # Cats that share a scene with a dog are taken first.
        assert cats <= dogs if split == "test" else dogs <= cats
    assert counts(ids["held_back"]) == {"cats": 2}


def test_an_image_that_occurs_twice_is_drawn_once():
    images = cats_and_dogs(10, 2) + make_images("cats", 10)
    placed = place_in_memory(images, {"test": {"cats": 10, "dogs": 2}})
    assert counts(placed.ids["test"]) == {"cats": 10, "dogs": 2}
    assert counts(placed.ids["held_back"]) == {"cats": 10}
    with refused("asks for 11 of class 'cats', 10 are left"):
        place_in_memory(images, {"test": {"cats": 11, "dogs": 2}})


def test_groups_stay_together_and_near_duplicates_across_groups_are_held_back():
    images = [
        Image(f"cats-{n}", group=f"owner-{n // 5}", scene="black frame" if n % 5 == 0 else "")
        for n in range(100)
    ]
    images += [Image(f"dogs-{n}", "dogs", 1, group=f"kennel-{n // 2}") for n in range(20)]
    splits = {"test": {"cats": 17, "dogs": 5}, "train": {"cats": 30, "dogs": 7}}
    ids = place_in_memory(images, splits, grouped=True).ids
    assert counts(ids["test"]) == splits["test"]
    assert counts(ids["train"]) == splits["train"]
    owners = {
        split: {int(name[5:]) // 5 for name in ids[split] if name[0] == "c"}
        for split in ("test", "train", "rest")
    }
    assert not owners["test"] & owners["train"]
    assert not owners["rest"] & (owners["test"] | owners["train"])
    black = {f"cats-{n}" for n in range(0, 100, 5)}
    assert len(black - ids["held_back"]) == 1


def test_stable_bands_are_adjacent_and_follow_the_settings():
    images = cats_and_dogs(4000, 4000)
    splits = {"test": {"cats": 100, "dogs": 100}, "train": {"cats": 300, "dogs": 300}}
    ids = place_in_memory(images, splits, assignment="stable").ids
    assert counts(ids["test"]) == splits["test"]
    assert counts(ids["train"]) == splits["train"]
    assert max(score(42, name) for name in ids["test"]) < 2**61
    assert min(score(42, name) for name in ids["train"]) >= 2**61
    cats = sorted((f"cats-{n}" for n in range(4000)), key=lambda name: score(42, name))
    assert {name for name in ids["test"] if name[0] == "c"} == set(cats[:100])


def test_stable_fractions_are_widths_of_bands():
    images = cats_and_dogs(2000, 2000)
    splits = {"test": {"cats": 0.25, "dogs": 0.125}, "train": {"cats": 0.5, "dogs": 0.5}}
    ids = place_in_memory(images, splits, assignment="stable").ids
    for image in images:
        share = score(42, image.id) / 2**63
        width = 0.125 if image.label else 0.25
        assert (image.id in ids["test"]) == (share < width)
        assert (image.id in ids["train"]) == (0.25 <= share < 0.75)


def test_a_stable_band_with_too_few_images_is_refused_with_their_number():
    splits = {"test": {"cats": 10, "dogs": 10}, "train": {"cats": 90, "dogs": 10}}
    with refused("split 'test' asks for 10 of 'dogs'; with assignment 'stable' it owns 36% of"):
        place_in_memory(cats_and_dogs(1000, 20), splits, assignment="stable")
