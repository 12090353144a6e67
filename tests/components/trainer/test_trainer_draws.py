"""The splits of an arm in each draw, as rows of one split, and parts of them for a curve."""

import numpy as np
import pytest

from components.trainer.data import Split
from components.trainer.draws import Part, overlap, parts_of, subset
from components.trainer.features import Rows

LABELS = np.array([1, 0, 0, 1, 0, 0, 1, 0, 0, 1])


def split_of(labels: np.ndarray, order: np.ndarray | None = None) -> Split:
    """A split whose image 0 is `image-0`, in another order of its records if one is given."""
    order = np.arange(len(labels)) if order is None else order
    ids = np.array([b"image-%d" % number for number in range(len(labels))], object)
    return Split(
        name="drawn",
        files=(),
        labels=labels[order],
        image_ids=ids[order],
        class_names=np.where(labels[order] == 1, b"dogs", b"cats"),
        features_shape=(2,),
        digest="",
    )


def test_a_part_has_the_images_of_its_rows():
    part = Part("val", split_of(LABELS), np.array([0, 2, 9]))
    assert list(part.labels) == [1, 0, 1]
    assert list(part.image_ids) == [b"image-0", b"image-2", b"image-9"]
    assert (part.positives, part.negatives) == (2, 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"val": np.array([1, 2])}, r"'val' of draw 3 must have.*Received: 0 positive, 2 negative"),
        ({"train": np.array([0, 1])}, r"draw 3 must have split 'val'.*\['train'\]"),
    ],
)
def test_a_draw_without_a_positive_or_a_split_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        parts_of(2, "val", split_of(LABELS), rows)


def test_rows_of_a_draw_are_read_only_when_they_are_used(tmp_path):
    values = np.memmap(tmp_path / "rows", np.float16, "w+", shape=(10, 2))
    values[:] = np.arange(20).reshape(10, 2)
    rows = Rows(values, LABELS).take(np.array([3, 0, 7]))
    assert list(rows.labels) == [1, 1, 0]
    assert rows.values.shape == (3, 2)
    assert len(rows.values) == 3
    assert type(rows.values) is not np.memmap
    np.testing.assert_array_equal(rows.values[np.array([[2, 1]])], [[[14, 15], [0, 1]]])
    np.testing.assert_array_equal(rows.values[1:], [[0, 1], [14, 15]])
    np.testing.assert_array_equal(np.asarray(rows.values), [[6, 7], [0, 1], [14, 15]])
    assert rows.values.reshape(3, -1).shape == (3, 2)
    values[7] = 5
    np.testing.assert_array_equal(rows.values[2], [5, 5])


def test_larger_parts_of_a_split_contain_the_smaller_ones():
    train = Part("train", split_of(LABELS), np.arange(1, 10))
    smaller, larger = (
        set(subset(train, positives=p, negatives=n, random_state=7).image_ids)
        for p, n in ((1, 2), (3, 4))
    )
    assert (len(smaller), len(larger)) == (3, 7)
    assert smaller < larger
    other = subset(train, positives=3, negatives=2, random_state=7)
    assert smaller < set(other.image_ids)


def test_a_part_does_not_depend_on_the_order_of_the_records():
    order = np.random.default_rng(0).permutation(10)
    found = [
        set(subset(Part("train", split), positives=2, negatives=3, random_state=7).image_ids)
        for split in (split_of(LABELS), split_of(LABELS, order))
    ]
    assert found[0] == found[1]
    another = subset(Part("train", split_of(LABELS)), positives=2, negatives=3, random_state=8)
    assert found[0] != set(another.image_ids)


def test_a_curve_that_asks_for_more_images_than_there_are_says_by_how_much():
    with pytest.raises(ValueError, match=r"asks for 7 positives, 3 more than the 4 of split 'tr"):
        subset(Part("train", split_of(LABELS)), positives=7, negatives=1, random_state=0)


def test_the_overlap_of_draws_is_the_share_of_images_that_another_draw_has():
    split = split_of(LABELS)
    draws = [Part("train", split, np.array(rows)) for rows in ([0, 3, 1, 2], [3, 6, 1, 2])]
    assert overlap(draws) == {"positives": 0.5, "negatives": 1.0}
