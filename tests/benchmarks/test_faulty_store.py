"""The proxy that answers with the faults of an object store."""

import pytest

from benchmarks.faults.faulty_store import Fault, object_path, verb_of


@pytest.mark.parametrize(
    ("command", "path", "verb"),
    [
        ("GET", "/photos", "LIST"),
        ("GET", "/photos/", "LIST"),
        ("GET", "/photos/cats/1.jpg", "GET"),
        ("HEAD", "/photos/cats/1.jpg", "HEAD"),
        ("PUT", "/photos/cats/1.jpg", "PUT"),
        ("DELETE", "/photos/cats/1.jpg", "DELETE"),
        ("GET", "/storage/v1/b/photos/o", "LIST"),
        ("GET", "/storage/v1/b/photos/o/cats%2F1.jpg", "HEAD"),
        ("GET", "/download/storage/v1/b/photos/o/cats%2F1.jpg", "GET"),
        ("POST", "/upload/storage/v1/b/photos/o", "PUT"),
    ],
)
def test_requests_are_told_apart(command, path, verb):
    assert verb_of(command, path) == verb


@pytest.mark.parametrize(
    "path", ["/photos/o/1%202.jpg", "/download/storage/v1/b/photos/o/o%2F1%202.jpg"]
)
def test_the_content_of_an_object_has_one_path_for_all_ways_to_ask_for_it(path):
    assert object_path(path) == "/photos/o/1 2.jpg"


def test_a_fault_hits_one_path_once_or_for_good():
    once, always = Fault("GET", "503", first=2), Fault("GET", "503", first=2, times=None)
    asked = [("/a", 1), ("/b", 2), ("/b", 3), ("/a", 4)]
    assert [once.hit("GET", path, number) for path, number in asked] == [False, True, False, False]
    assert [always.hit("GET", *one) for one in asked] == [False, True, True, False]
    assert not Fault("GET", "503").hit("PUT", "/a", 1)
