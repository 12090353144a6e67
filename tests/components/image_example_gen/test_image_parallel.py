"""Images are read in several processes in the order of the listing, and with the same results."""

import threading
from collections.abc import Iterable

import pytest

from components.image_example_gen import worker_options
from components.image_example_gen.parallel import map_in_order
from components.image_example_gen.worker_options import image_workers


def squares(items: Iterable[int]) -> list[int]:
    return [item**2 for item in items]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_keep_the_order_of_the_items(threads):
    assert list(map_in_order(squares, range(100), threads=threads)) == squares(range(100))
    assert list(map_in_order(squares, [], threads=threads)) == []


def test_items_are_in_work_at_the_same_time():
    both = threading.Barrier(2)  # raises an error if the second thread never arrives

    def work(items: list[int]) -> list[int]:
        both.wait(60)
        return items

    assert list(map_in_order(work, range(16), threads=2)) == list(range(16))


@pytest.mark.parametrize("threads", [1, 2])
def test_few_items_are_taken_before_their_results_are(threads):
    taken = []
    results = map_in_order(
        squares, (taken.append(item) or item for item in range(1000)), threads=threads
    )
    for _ in range(10):
        next(results)
    assert len(taken) <= 10 + 16 * threads


def test_an_error_is_raised_in_place_of_its_result_and_ends_the_rest():
    done = []

    def work(items: list[int]) -> list[int]:
        done.extend(items)
        return [1 // (item - 50) for item in items]

    results = map_in_order(work, range(1000), threads=2)
    assert [next(results) for _ in range(48)] == [-1] * 48
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert max(done) < 100


def test_auto_takes_the_cores_if_there_are_many_images(monkeypatch):
    monkeypatch.setattr(worker_options, "cores", lambda: 1)
    assert image_workers(["--runner=FnApiRunner", "--image_workers=auto"], 100_000) == 1
    monkeypatch.setattr(worker_options, "cores", lambda: 6)
    assert image_workers(["--runner=FnApiRunner", "--image_workers=auto"], 100_000) == 6
    assert image_workers(["--image_workers=auto"], 30) == 1
    assert image_workers(["--image_workers=4"], 30) == 4
    assert image_workers([], 100_000) == 1


def test_cores_are_limited_by_the_container(monkeypatch):
    allowed = worker_options.cores()
    monkeypatch.setattr(worker_options.os, "sched_getaffinity", lambda _: range(8))
    for text, expected in (("200000 100000", 2), ("50000 100000", 1), ("max 100000", 8)):
        monkeypatch.setattr(worker_options.Path, "read_text", lambda *_, text=text, **__: text)
        assert worker_options.cores() == expected
    assert allowed >= 1
