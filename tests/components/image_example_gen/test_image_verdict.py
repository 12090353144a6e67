import hashlib

import numpy as np

from components.image_example_gen.image_table import ImageRecord, ImageTable
from components.image_example_gen.verdict import (
    Decoded,
    Refusal,
    failure,
    judge,
    quarantine_rows,
    summary,
)

# uri, class, content
IMAGES = [
    ("a/1.jpg", "cats", "one"),
    ("a/2.jpg", "cats", "one"),
    ("a/3.jpg", "cats", "two"),
    ("b/1.jpg", "dogs", "two"),
    ("b/2.jpg", "dogs", "two"),
    ("b/3.jpg", "dogs", "three"),
    ("c/1.jpg", "dogs", None),
]
RECORDS = ImageTable(ImageRecord(uri, f"/s/{uri}", label, (), 1, 0) for uri, label, _ in IMAGES)
REFUSALS = [Refusal(6, "undecodable", "JPEG: truncated")]


def decoded(images) -> Decoded:
    rows = [row for row, image in enumerate(images) if image[2]]
    digests = [hashlib.sha256(images[row][2].encode()).digest() for row in rows]
    return Decoded(
        rows=np.array(rows, dtype=np.int64),
        digests=np.array(digests, dtype="S32"),
    )


VERDICT = judge(RECORDS, decoded(IMAGES), REFUSALS)


def counts(verdict=VERDICT, max_bad_fraction=1.0):
    return summary(
        RECORDS,
        verdict,
        positive_class="dogs",
        max_bad_fraction=max_bad_fraction,
        passed_over={"hidden files": 2, "@eaDir/": 1},
    )


def test_of_equal_images_the_one_with_the_smallest_uri_is_kept():
    assert np.flatnonzero(VERDICT.kept).tolist() == [0, 5]
    assert VERDICT.duplicates == 1


def test_all_copies_of_the_same_bytes_in_two_classes_are_quarantined():
    assert quarantine_rows(RECORDS, VERDICT) == [
        {
            "uri": "a/3.jpg",
            "class_name": "cats",
            "reason": "label_conflict",
            "detail": "the same bytes are also b/1.jpg of class dogs",
        },
        {
            "uri": "b/1.jpg",
            "class_name": "dogs",
            "reason": "label_conflict",
            "detail": "the same bytes are also a/3.jpg of class cats",
        },
        {
            "uri": "b/2.jpg",
            "class_name": "dogs",
            "reason": "label_conflict",
            "detail": "the same bytes are also a/3.jpg of class cats",
        },
        {
            "uri": "c/1.jpg",
            "class_name": "dogs",
            "reason": "undecodable",
            "detail": "JPEG: truncated",
        },
    ]


def test_the_counts_of_the_summary_add_up():
    found = counts()
    assert found == {
        "listed": 7,
        "accepted": 2,
        "duplicates": 1,
        "quarantined": 4,
        "by_reason": {"label_conflict": 3, "undecodable": 1},
        "passed_over": {"@eaDir/": 1, "hidden files": 2},
        "by_class": {"cats": 1, "dogs": 1},
        "positive_class": "dogs",
        "max_bad_fraction": 1.0,
    }
    assert found["listed"] == sum(found[key] for key in ("accepted", "duplicates", "quarantined"))


def test_max_bad_fraction_is_the_largest_that_passes():
    rows = quarantine_rows(RECORDS, VERDICT)
    assert failure(counts(max_bad_fraction=4 / 7), rows) == ""
    assert failure(counts(max_bad_fraction=0.5), rows) == (
        "4 of 7 images were refused, more than max_bad_fraction 0.5 allows: 3 label_conflict, "
        "1 undecodable; the first are a/3.jpg (label_conflict), b/1.jpg (label_conflict), "
        "b/2.jpg (label_conflict), c/1.jpg (undecodable)"
    )


def test_a_class_without_images_left_is_a_failure():
    refusals = [Refusal(row, "undecodable", "") for row in range(3)]
    images = [(*image[:2], None) if row < 3 else image for row, image in enumerate(IMAGES)]
    verdict = judge(RECORDS, decoded(images), refusals)
    found = counts(verdict)
    assert found["by_class"] == {"cats": 0, "dogs": 2}
    assert "no image of class 'cats' is left" in failure(found, [])


def test_a_source_of_which_no_image_decodes_is_a_failure():
    everything = [Refusal(row, "empty", "0 bytes") for row in range(len(RECORDS))]
    verdict = judge(RECORDS, decoded([]), everything)
    assert not verdict.kept.any()
    assert verdict.duplicates == 0
    assert "no image of class 'cats' is left" in failure(counts(verdict), [])
