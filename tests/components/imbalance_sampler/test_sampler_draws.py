"""Several draws of the splits: each as its own seed draws it, and no image written twice."""

import re
from itertools import combinations

import pytest
from listed import list_files
from sampler_images import Image, cats_and_dogs, draw, make_images, place_in_memory, write_examples

from components.imbalance_sampler import draws
from components.imbalance_sampler.request import SamplingError, check_draws

SPLITS = {
    "train": {"cats": 20, "dogs": 5},
    "val": {"cats": 10, "dogs": 2},
    "test": {"cats": 20, "dogs": 4},
}


@pytest.fixture(scope="module")
def images() -> list[Image]:
    """Cats and dogs; every third cat resembles the one before it."""
    cats = [
        Image(image.id, "cats", scene=f"scene-{number - (number % 3 == 2)}")
        for number, image in enumerate(make_images("cats", 200))
    ]
    return cats + make_images("dogs", 20, label=1)


@pytest.fixture(scope="module")
def drawn(images, tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    write_examples(source, [images[number::3] for number in range(3)])
    return draw(source, tmp_path_factory.mktemp("drawn"), SPLITS, draws=4)


@pytest.fixture(scope="module")
def by_split(drawn) -> list[dict[str, list[str]]]:
    """The ids of each draw's splits."""
    ids = drawn.ids("drawn")
    return [
        {split: [ids[row] for row in rows] for split, rows in splits.items()}
        for splits in draws.read(str(drawn.folder / "sampling"))
    ]


def test_each_draw_is_that_of_its_own_seed(images, by_split):
    assert len(by_split) == 4
    for found, state in zip(by_split, draws.random_states(42, 4), strict=True):
        placed = place_in_memory(images, SPLITS, random_state=state).ids
        for split, sizes in SPLITS.items():
            assert len(found[split]) == sum(sizes.values())
            assert set(found[split]) == placed[split]


def test_splits_of_a_draw_share_no_image_and_no_scene(images, by_split):
    scenes = {image.id: image.scene or image.id for image in images}
    for found in by_split:
        for one, other in combinations(found.values(), 2):
            assert {scenes[each] for each in one}.isdisjoint(scenes[each] for each in other)


def test_an_image_that_several_draws_use_is_written_once(drawn, by_split):
    assert drawn.split_names == ["drawn"]
    written = drawn.ids("drawn")
    assert len(written) == len(set(written))
    used = {each for found in by_split for ids in found.values() for each in ids}
    assert set(written) == used


def test_only_images_of_the_written_splits_are_written(images, by_split, tmp_path):
    write_examples(tmp_path / "source", [images])
    some = draw(tmp_path / "source", tmp_path / "some", SPLITS, draws=4, written='["test", "val"]')
    ids = some.ids("drawn")
    found = [
        {split: {ids[row] for row in rows} for split, rows in splits.items()}
        for splits in draws.read(str(some.folder / "sampling"))
    ]
    assert found == [
        {split: set(ids) for split, ids in splits.items() if split != "train"}
        for splits in by_split
    ]
    assert set(ids) == {each for splits in found for ids in splits.values() for each in ids}


def test_the_first_draw_is_the_one_without_repetition(tmp_path):
    source = tmp_path / "source"
    write_examples(source, [cats_and_dogs(60, 12)])
    once = draw(source, tmp_path / "once", SPLITS)
    several = draw(source, tmp_path / "several", SPLITS, draws=2)
    ids = several.ids("drawn")
    first = draws.read(str(several.folder / "sampling"))[0]
    for split in SPLITS:
        assert [ids[row] for row in first[split]] == once.ids(split)
    assert once.report == {key: several.report[key] for key in once.report}


def test_the_report_has_the_seed_of_each_draw(drawn):
    states = [each["random_state"] for each in drawn.report["draws"]]
    assert states == draws.random_states(42, 4)
    assert len(set(states)) == 4
    assert states[:2] == draws.random_states(42, 2)


def test_a_pool_that_is_too_small_says_for_which_draw_and_by_how_much(tmp_path):
    write_examples(tmp_path / "source", [cats_and_dogs(49, 12)])
    list_files(tmp_path / "source")
    message = (
        "draw 1 of 3, with random_state 42: split 'train' asks for 20 of class 'cats', 19 are left "
        "after 'test' and 'val', 1 too few"
    )
    with pytest.raises(SamplingError, match=re.escape(message)):
        draw(tmp_path / "source", tmp_path / "drawn", SPLITS, draws=3)


@pytest.mark.parametrize(
    ("assignment", "keep_rest", "message"),
    [("stable", False, "only with assignment 'exact'"), ("exact", True, "keep_rest must be false")],
)
def test_what_several_draws_contradict_is_refused(assignment, keep_rest, message):
    with pytest.raises(SamplingError, match=message):
        check_draws(2, assignment=assignment, keep_rest=keep_rest)
    check_draws(1, assignment=assignment, keep_rest=keep_rest)
