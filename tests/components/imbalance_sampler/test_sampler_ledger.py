"""The ledger of a stable draw: what it fixes, how it is stored, and what is refused."""

import dataclasses
import json
import os
import re
import subprocess
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from sampler_images import Image, cats_and_dogs, draw, make_images, place_in_memory, write_examples

from components.imbalance_sampler import ledger
from components.imbalance_sampler.ledger import EMPTY, Ledger, LedgerError, Terms
from components.imbalance_sampler.request import ShortageError
from components.imbalance_sampler.rows import PLACED
from components.imbalance_sampler.scores import fingerprints, score
from components.in_progress import owned_name

TERMS = Terms.of(
    random_state=42,
    group_by="",
    bands={"test": (Fraction(0), Fraction(1, 4)), "train": (Fraction(1, 4), Fraction(1))},
    max_distance=4,
)
ROWS = np.array([(b"a" * 16, 7, True, 5), (b"b" * 16, 0, False, -1)], PLACED)
LEDGER = Ledger(TERMS, ROWS)

HALVES = {
    "test": {"cats": 0.5, "dogs": 0.5},
    "train": {"cats": 0.5, "dogs": 0.5},
}


def refused(message: str):
    return pytest.raises(LedgerError, match=re.escape(message))


def split_of(ids, name: str) -> str:
    (split,) = (split for split, names in ids.items() if name in names)
    return split


def stable(images, before=EMPTY, **options):
    return place_in_memory(images, HALVES, assignment="stable", before=before, **options)


def test_a_newcomer_with_a_smaller_hash_moves_no_image():
    rng = np.random.default_rng(5)
    hashes = rng.integers(2**16, 2**64, 2000, dtype=np.uint64).tolist()
    images = [
        Image(f"{n}", *(("dogs", 1) if n % 4 == 0 else ("cats", 0)), hash=value)
        # Two images of each scene, whose hashes differ in one bit.
        for n, value in enumerate(value ^ bit for value in hashes[:1000] for bit in (0, 1))
    ]
    first = stable(images)
    newcomers = [
        dataclasses.replace(image, id=f"new-{image.id}", hash=image.hash & ~(1 << 63) & ~(1 << 62))
        for image in images
    ]
    after = stable([*images, *newcomers], first.ledger).ids
    assert {split: ids & set(map(str, range(2000))) for split, ids in after.items()} == first.ids
    assert all(split_of(after, f"new-{n}") == split_of(first.ids, f"{n}") for n in range(2000))


# LEFT and RIGHT, 5 bits apart, are not near-duplicates; MIDDLE is a near-duplicate of both.
LEFT, MIDDLE, RIGHT = 0b00000, 0b00011, 0b11111


def bridged(same_split: bool):
    """Makes a draw in which two units that a newcomer links are in one split, or in two."""
    background = cats_and_dogs(40, 40)
    for shift in range(59):
        pair = [Image(f"{at}", hash=at << shift) for at in (LEFT, RIGHT)]
        first = stable([*background, *pair])
        if same_split == (split_of(first.ids, "0") == split_of(first.ids, "31")):
            return [*background, *pair], first, Image("between", hash=MIDDLE << shift)
    raise AssertionError("no such pair")


def test_a_newcomer_that_resembles_images_of_two_splits_is_held_back_permanently():
    images, first, between = bridged(same_split=False)
    after = stable([*images, between], first.ledger)
    assert split_of(after.ids, "between") == "held_back"
    for name in ("0", "31"):
        assert split_of(after.ids, name) == split_of(first.ids, name)
    # Also if one of the two no longer exists.
    alone = stable([image for image in images if image.id != "0"] + [between], after.ledger)
    assert split_of(alone.ids, "between") == "held_back"


def test_a_newcomer_that_resembles_two_units_of_one_split_joins_the_one_drawn_first():
    images, first, between = bridged(same_split=True)
    after = stable([*images, between], first.ledger)
    assert split_of(after.ids, "between") == split_of(first.ids, "0")
    units = dict(zip(after.ledger.rows["id"], after.ledger.rows["unit"], strict=True))
    left, right, new = (units[key] for key in fingerprints([b"0", b"31", b"between"]))
    assert new == min(left, right) < max(left, right)


def test_newcomers_that_resemble_each_other_are_held_back_together():
    images, first, between = bridged(same_split=False)
    friend = Image("friend", hash=between.hash ^ (0b111 << 61))
    after = stable([*images, between, friend], first.ledger)
    assert split_of(after.ids, "friend") == "held_back"


def test_images_that_are_removed_and_added_again_keep_their_split():
    images = [Image(f"{n}", scene=f"scene-{n // 2}") for n in range(64)] + make_images(
        "dogs", 40, label=1
    )
    first = stable(images)
    gone = stable(images[:40] + images[64:], first.ledger)
    back = stable(images, gone.ledger)
    assert back.ids == first.ids


def test_an_image_that_moves_to_a_group_of_another_split_is_held_back():
    images = [Image(f"cats-{n}", group=f"g{n % 20}") for n in range(100)]
    images += make_images("dogs", 40, label=1)
    first = stable(images, grouped=True)
    other = {split_of(first.ids, f"cats-{n}"): f"g{n}" for n in range(20)}
    name = split_of(first.ids, "cats-0")
    elsewhere = other["train" if name == "test" else "test"]
    moved = [dataclasses.replace(images[0], group=elsewhere), *images[1:]]
    after = stable(moved, first.ledger, grouped=True)
    assert split_of(after.ids, "cats-0") == "held_back"
    assert stable(images, after.ledger, grouped=True).ids == first.ids


def test_a_ledger_is_read_as_written_and_equal_ledgers_have_equal_bytes(tmp_path):
    path = tmp_path / "below" / "it.ledger"
    with ledger.locked(str(path)):
        ledger.write(LEDGER, str(path), replacing=EMPTY)
    found = ledger.read(str(path))
    assert found.terms == TERMS
    np.testing.assert_array_equal(found.rows, ROWS)
    again = tmp_path / "again.ledger"
    ledger.write(Ledger(TERMS, ROWS), str(again), replacing=EMPTY)
    assert again.read_bytes() == path.read_bytes()
    assert {file.name for file in path.parent.iterdir()} == {"it.ledger", "it.ledger.lock"}


def test_a_ledger_that_does_not_exist_is_empty(tmp_path):
    assert ledger.read(str(tmp_path / "none")).digest == ""


@pytest.fixture
def kept(tmp_path) -> Path:
    ledger.write(LEDGER, str(tmp_path / "a.ledger"), replacing=EMPTY)
    return tmp_path / "a.ledger"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-3] + b"\x00" + data[-2:],
        lambda data: data.replace(b'"random_state": 42', b'"random_state": 43'),
        lambda data: data[20:],
        lambda data: b"",
        lambda data: b"[1]\n",
        lambda data: b"\xff\xfe",
        lambda data: data.replace(b'"terms"', b'"turns"'),
    ],
)
def test_a_damaged_ledger_is_refused_with_its_path_and_what_to_do(kept, damage):
    kept.write_bytes(damage(kept.read_bytes()))
    with refused(f"the ledger {kept} is damaged: ") as error:
        ledger.read(str(kept))
    assert "Restore it from a backup" in str(error.value)


def test_a_ledger_of_another_version_is_refused(kept):
    kept.write_bytes(kept.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with refused(f"the ledger {kept} must have format version 1") as error:
        ledger.read(str(kept))
    assert str(error.value).endswith("Received: version 2")


def test_a_ledger_that_is_a_folder_or_is_below_a_file_is_refused(tmp_path, kept):
    with refused(f"the ledger {tmp_path} can't be read: "):
        ledger.read(str(tmp_path))
    with refused("can't be written to (File exists)"), ledger.locked(str(kept / "below")):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"random_state": 7}, "sampler.random_state must stay as in the first draw"),
        ({"group_by": "owner"}, "sampler.group_by must stay as in the first draw"),
        ({"bands": (("test", "0", "1/2"),)}, "the shares of sampler.splits must stay"),
        ({"max_distance": 5}, "sampler.near_duplicates.max_distance may only be lowered"),
    ],
)
def test_settings_that_differ_from_the_first_draw_are_refused(change, message):
    now = dataclasses.replace(TERMS, **change)
    with refused(message) as error:
        ledger.check(LEDGER, now, "runs/a.ledger")
    assert "To start a new draw" in str(error.value)
    assert "runs/a.ledger" in str(error.value)
    assert re.search(r"Received: \S", str(error.value))


def test_a_lower_distance_is_accepted_and_can_not_be_raised_again():
    lower = dataclasses.replace(TERMS, max_distance=0)
    ledger.check(LEDGER, lower, "")
    with refused("may only be lowered"):
        ledger.check(Ledger(lower, ROWS), TERMS, "")


def test_a_ledger_that_another_run_has_changed_is_not_overwritten(kept):
    before = kept.read_bytes()
    with refused("was changed by another run during this draw"):
        ledger.write(Ledger(TERMS, ROWS[:1]), str(kept), replacing=EMPTY)
    assert kept.read_bytes() == before


def test_a_write_that_fails_leaves_the_ledger_as_it_was(kept, monkeypatch):
    before = kept.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with refused("can't be written: [Errno 28] No space left on device"):
        ledger.write(Ledger(TERMS, ROWS[:1]), str(kept), replacing=LEDGER)
    assert kept.read_bytes() == before
    assert list(kept.parent.iterdir()) == [kept]


def test_what_a_killed_write_has_left_is_removed_by_the_next_one(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / f".{owned_name(gone.pid)}-a.ledger").write_bytes(b"half")
    ledger.write(LEDGER, str(tmp_path / "a.ledger"), replacing=EMPTY)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ledger"]


def test_two_draws_at_once_take_turns(tmp_path):
    path = str(tmp_path / "a.ledger")

    def add(key: bytes) -> None:
        with ledger.locked(path):
            before = ledger.read(path)
            row = np.array([(key * 16, 0, False, 3)], PLACED)
            rows = np.sort(np.concatenate([before.rows, row]), order="id")
            ledger.write(Ledger(TERMS, rows), path, replacing=before)

    threads = [threading.Thread(target=add, args=(b"%c" % letter,)) for letter in b"abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.read(path).rows) == 8


def fixed_camera() -> list[Image]:
    """Returns 310 images of one scene, whose hashes differ in up to four bits."""
    rng = np.random.default_rng(1)
    return [
        Image(
            f"{n}",
            *(("dogs", 1) if n % 10 == 0 else ("cats", 0)),
            hash=0xF0F0_F0F0_F0F0_F0F0
            ^ (1 << int(rng.integers(64)))
            ^ (1 << int(rng.integers(64))),
        )
        for n in range(310)
    ]


SOME = {"test": {"cats": 60, "dogs": 6}, "train": {"cats": 120, "dogs": 12}}


@pytest.mark.parametrize("assignment", ["exact", "stable"])
def test_images_of_a_fixed_camera_are_refused_with_advice_and_split_at_a_distance_of_0(
    tmp_path, assignment
):
    write_examples(tmp_path / "in", [fixed_camera()])
    options = {"assignment": assignment, "ledger": str(tmp_path / "a.ledger")}
    with pytest.raises(ShortageError, match="near-duplicates of others") as error:
        draw(tmp_path / "in", tmp_path / "refused", SOME, **options)
    assert "set sampler.near_duplicates: {max_distance: 0}" in str(error.value)
    assert not (tmp_path / "a.ledger").exists()
    drawn = draw(tmp_path / "in", tmp_path / "out", SOME, max_distance=0, **options)
    assert [len(drawn.ids(split)) for split in SOME] == [66, 132]
    assert drawn.report["near_duplicates"]["clusters"] == 0


def test_the_executor_continues_a_stable_draw(tmp_path):
    images, _, between = bridged(same_split=False)
    path = tmp_path / "ledgers" / "a.ledger"
    options = {"assignment": "stable", "ledger": str(path), "keep_rest": 1}
    write_examples(tmp_path / "one", [images[:30], images[30:]])
    write_examples(tmp_path / "two", [[between, *images[40:]]])
    first = draw(tmp_path / "one", tmp_path / "first", HALVES, **options)
    assert first.report["ledger"] == {
        "carried_forward": 0,
        "newcomers": len(images),
        "held_back": 0,
        "absent": 0,
    }
    left = path.read_bytes()
    again = draw(tmp_path / "one", tmp_path / "again", HALVES, **options)
    assert path.read_bytes() == left
    assert [again.ids(split) for split in HALVES] == [first.ids(split) for split in HALVES]

    second = draw(tmp_path / "two", tmp_path / "second", HALVES, **options)
    assert second.report["ledger"] == {
        "carried_forward": len(images) - 40,
        "newcomers": 1,
        "held_back": 1,
        "absent": 40,
    }
    for split in HALVES:
        assert set(second.ids(split)) <= set(first.ids(split))
    assert second.report["classes"]["cats"]["held_back"] == 1

    with refused("sampler.random_state must stay as in the first draw"):
        draw(tmp_path / "two", tmp_path / "third", HALVES, random_state=7, **options)
    path.write_bytes(path.read_bytes()[:-1])
    with refused(f"the ledger {path} is damaged"):
        draw(tmp_path / "two", tmp_path / "fourth", HALVES, **options)
    assert json.loads(json.dumps(second.report)) == second.report


def test_a_relative_ledger_is_below_the_pipeline_root(tmp_path):
    write_examples(tmp_path / "in", [cats_and_dogs(40, 40)])
    options = {"assignment": "stable", "ledger": "ledgers/a.ledger"}
    draw(tmp_path / "in", tmp_path / "out", HALVES, pipeline_root=str(tmp_path / "root"), **options)
    assert len(ledger.read(str(tmp_path / "root/ledgers/a.ledger")).rows) == 80


def test_unit_scores_depend_on_seed_and_identity():
    first = stable([*cats_and_dogs(40, 40), Image("x", hash=9), Image("y", hash=8)])
    units = dict(zip(first.ledger.rows["id"], first.ledger.rows["unit"], strict=True))
    x, y, alone = (units[key] for key in fingerprints([b"x", b"y", b"cats-1"]))
    assert x == y == score(42, f"{8:016x}")
    assert alone == score(42, "cats-1")
