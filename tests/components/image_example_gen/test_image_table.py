import tracemalloc

import pytest

from components.image_example_gen.image_table import ImageRecord, ImageTable

FIRST = ImageRecord("cats/1.jpg", "/s/cats/1.jpg", "cats", (("breed", "tabby"),), 3, 5)
RECORDS = [
    FIRST,
    ImageRecord("/else/2.jpg", "/else/2.jpg", "dogs", (("breed", ""),), -1, 0, "etag", "7"),
    ImageRecord("dogs/é.jpg", "/s/dogs/e\u0301.jpg", "dogs", (), 2**40, 2**62, "", "8"),
    ImageRecord("dogs/\\xff.jpg", "/s/dogs/\udcff.jpg", "dogs", (), 0, -1),
]


def test_records_are_given_back_as_they_were_added():
    table = ImageTable(RECORDS)
    assert list(table) == RECORDS
    assert [table[row] for row in range(-4, 4)] == RECORDS * 2
    assert table[1:3] == RECORDS[1:3]
    assert table == ImageTable(RECORDS) != ImageTable(RECORDS[:3])
    with pytest.raises(IndexError):
        table[4]


def test_order_is_by_uri_then_class_then_path_and_the_last_of_equal_images_is_taken():
    other_class = FIRST._replace(class_name="birds")
    other_path = FIRST._replace(path="/r/cats/1.jpg")
    again = FIRST._replace(size=4)
    first = FIRST._replace(uri="a.jpg")
    shuffled = ImageTable([FIRST, other_path, again, other_class, first])
    assert list(shuffled.in_order()) == [first, other_class, other_path, again]


def test_values_that_repeat_are_counted():
    table = ImageTable([RECORDS[2], *RECORDS])
    assert table.classes.counts() == {"dogs": 4, "cats": 1}
    assert table.classes.values == ["dogs", "cats"]
    assert table.spans.counts() == {"8": 2, "": 2, "7": 1}


def test_an_image_takes_little_more_memory_than_its_name():
    tracemalloc.start()
    try:
        table = ImageTable(
            ImageRecord(f"cats/{n:09d}.jpg", f"/photos/cats/{n:09d}.jpg", "cats", (), n, n)
            for n in range(20_000)
        )
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / len(table) < 120
