"""The next images of a bucket are read while one is used, in order and in bounded memory."""

import threading
from collections.abc import Sequence

import pytest

from components.image_example_gen import files
from components.image_example_gen.prefetch import BYTES_AHEAD, IMAGES_AHEAD, reads, streams
from components.image_example_gen.sources import ImageRecord
from components.images.reader import RefusedImageError
from components.stores import StoreError

MANY = 3 * IMAGES_AHEAD


class Bucket:
    """Stands in for a store; the contents are the paths.

    Attributes:
      begun: the paths that were asked for.
      threads: that asked.
      allowed: number of reads that end; the others wait.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.threads: set[int] = set()
        self.allowed = threading.Semaphore(10**6)
        self.asked = threading.Semaphore(0)

    def read(self, path: str) -> bytes:
        self.begun.append(path)
        self.threads.add(threading.get_ident())
        self.asked.release()
        assert self.allowed.acquire(timeout=60)
        if path.endswith("missing"):
            raise FileNotFoundError(path)
        if path.endswith("denied"):
            raise StoreError(f"{path} can't be read")
        return path.encode()


@pytest.fixture
def bucket(monkeypatch) -> Bucket:
    bucket = Bucket()
    monkeypatch.setattr(files, "read_bytes", bucket.read)
    return bucket


def records(names: Sequence[object], *, size: int = 1, root: str = "s3://b") -> list[ImageRecord]:
    return [ImageRecord(str(name), f"{root}/{name}", "cats", (), size, 0) for name in names]


def contents(found: Sequence[ImageRecord]) -> list[bytes]:
    with reads(found, 10**9) as each:
        return [read() for read in each]


def test_contents_come_in_the_order_of_the_records(bucket):
    found = records(range(MANY))
    assert contents(found) == [record.path.encode() for record in found]
    assert sorted(bucket.begun) == sorted(record.path for record in found)


def test_so_many_images_are_read_at_once_and_no_more(bucket):
    bucket.allowed = threading.Semaphore(0)
    with reads(records(range(MANY)), 10**9) as each:
        read = next(each)
        for _ in range(IMAGES_AHEAD):  # all of them are asked for before one has been answered
            assert bucket.asked.acquire(timeout=60)
        bucket.allowed.release(IMAGES_AHEAD)
        read()
        assert not bucket.asked.acquire(timeout=0)
        next(each)
        assert bucket.asked.acquire(timeout=60)
        assert len(bucket.begun) == IMAGES_AHEAD + 1
        bucket.allowed.release(MANY)


def test_large_images_are_read_in_bounded_memory(bucket):
    """Of two at a time that fit together, the third waits for the first to be used."""
    with reads(records(range(9), size=BYTES_AHEAD // 2), 10**9) as each:
        for used, read in enumerate(each):
            read()
            assert len(bucket.begun) <= used + 2
    with reads(records(range(3), size=2 * BYTES_AHEAD), 10**9) as each:
        assert [len(read()) for read in each] == [len(b"s3://b/0")] * 3


def test_an_error_is_raised_for_its_own_image(bucket):
    names = ["a", "missing", "b", "denied", "c"]
    with reads(records(names), 10**9) as each:
        assert next(each)() == b"s3://b/a"
        with pytest.raises(RefusedImageError, match="missing"):
            next(each)()
        assert next(each)() == b"s3://b/b"
        with pytest.raises(StoreError, match="s3://b/denied"):
            next(each)()


def test_an_image_that_is_too_large_is_refused_without_reading_it(bucket):
    with (
        reads(records(["a"], size=10**12), 10**6) as each,
        pytest.raises(RefusedImageError, match="too_large"),
    ):
        next(each)()
    assert bucket.begun == []


def test_threads_end_when_the_reader_stops(bucket):
    before = set(threading.enumerate())
    with reads(records(range(MANY)), 10**9) as each:
        next(each)()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert len(bucket.begun) <= IMAGES_AHEAD + 1


def test_who_waits_for_an_image_when_the_reader_stops_does_not_wait_for_ever(bucket):
    bucket.allowed = threading.Semaphore(0)
    with reads(records(range(MANY)), BYTES_AHEAD) as each:
        first, *_, last = [next(each) for _ in range(IMAGES_AHEAD + 9)]
    for waiting in (first, last, next(each)):
        with pytest.raises(StoreError, match="reading of all images has ended"):
            waiting()
    bucket.allowed.release(MANY)


def test_several_streams_are_read_at_once_in_bounded_memory(bucket):
    bucket.allowed = threading.Semaphore(0)
    names = [[f"{stream}-{number}" for number in range(MANY)] for stream in range(4)]
    with streams([records(each) for each in names], 10**9) as contents:
        first = [next(each) for each in contents]
        assert len(bucket.begun) <= 2 * IMAGES_AHEAD
        bucket.allowed.release(9 * MANY)
        for name, read, following in zip(names, first, contents, strict=True):
            assert [read(), *(each() for each in following)] == [
                f"s3://b/{each}".encode() for each in name
            ]
    large = [records(range(4), size=BYTES_AHEAD // 4, root=f"s3://{each}") for each in range(2)]
    bucket.begun.clear()
    with streams(large, 10**9) as contents:
        for each in contents:
            next(each)()
        assert len(bucket.begun) <= 4


def test_files_on_disk_are_read_where_they_are_used(bucket):
    found = records(range(MANY), root="/photos")
    with reads(found, 10**9) as each:
        next(each)()
        assert bucket.begun == ["/photos/0"]
        assert [read() for read in each] == [record.path.encode() for record in found[1:]]
    assert bucket.threads == {threading.get_ident()}
