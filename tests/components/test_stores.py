"""What a store does not give or keep is tried again, not for long, and then named."""

import filecmp
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.utils import parse_timestamp
from faulty_bucket import SCHEMES, faulty_bucket
from google.cloud import storage

from benchmarks.faults.faulty_store import Fault, FaultyStore
from components import stores
from components.beam_io import file_at, files_below
from components.image_example_gen import files
from components.stores import StoreError, store_of

PASSING = [
    (verb, name)
    for verb in ("GET", "PUT", "LIST", "HEAD")
    for name in ("503", "reset", "delay", *(["cut", "damage"] if verb == "GET" else []))
]


@pytest.fixture(scope="module", params=SCHEMES)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, FaultyStore]]:
    """A bucket's URI and the proxy in front of it, which the environment names."""
    with faulty_bucket(request.param, "photos") as found:
        yield found


@pytest.fixture
def proxy(server: tuple[str, FaultyStore]) -> Iterator[FaultyStore]:
    root, proxy = server
    store_of(root).write(f"{root}/cats/1.jpg", b"a cat" * 999)
    proxy.clear()
    yield proxy
    proxy.clear()


@pytest.fixture
def path(server: tuple[str, FaultyStore]) -> str:
    return f"{server[0]}/cats/1.jpg"


def ask(verb: str, path: str) -> object:
    """What a store says to a request: content, paths, a size, or the content after writing."""
    if verb == "GET":
        return files.read_bytes(path)
    if verb == "LIST":
        return [found.path for found in files_below(path)]
    if verb == "HEAD":
        return file_at(path).size_in_bytes
    store_of(path).write(path, b"another cat")
    return store_of(path).read(path)


def answer(verb: str, path: str) -> object:
    answers = {"GET": b"a cat" * 999, "LIST": [path], "HEAD": 4995, "PUT": b"another cat"}
    return answers[verb]


@pytest.mark.parametrize(("verb", "name"), PASSING)
def test_a_fault_that_passes_is_not_noticed(proxy, path, verb, name):
    proxy.fault = Fault(verb, name)
    assert ask(verb, path) == answer(verb, path)
    assert proxy.fault.hits == 1


@pytest.mark.parametrize("verb", ["GET", "PUT", "LIST", "HEAD"])
@pytest.mark.parametrize("name", ["503", "reset", "403"])
def test_a_fault_that_stays_is_an_error_that_names_what_was_asked_for(proxy, path, verb, name):
    proxy.fault = Fault(verb, name, times=None)
    with pytest.raises(StoreError, match=rf"{path} can't be read or written .* \(.+\); check"):
        ask(verb, path)
    # An object is asked for without the store's client, then with it.
    assert 1 <= proxy.fault.hits <= (2 if name == "403" else 30)


@pytest.mark.parametrize("name", ["cut", "damage"])
def test_an_object_that_is_never_whole_is_an_error_that_names_it(proxy, path, name):
    proxy.fault = Fault("GET", name, times=None)
    with pytest.raises(StoreError, match=path):
        ask("GET", path)


def test_only_an_object_that_does_not_exist_is_missing(proxy, path):
    with pytest.raises(FileNotFoundError):
        files.read_bytes(f"{path}.gone")
    assert file_at(f"{path}.gone") is None
    nowhere = path.replace("photos", "nowhere")
    # The stand-in of Google's store does not say, as Google does, that it is the bucket.
    for verb in ("GET", "LIST") if path.startswith("s3://") else ("LIST",):
        with pytest.raises(StoreError, match=r"(?i)bucket|nowhere"):
            ask(verb, nowhere)


def test_a_conditional_write_replaces_only_what_was_read(proxy, path):
    store = store_of(path)
    assert not store.write_if(path, b"a new one", None)
    _, tag = store.read_tagged(path)
    assert store.write_if(path, b"the first", tag)
    assert not store.write_if(path, b"the second", tag)
    content, tag = store.read_tagged(path)
    assert content == b"the first"
    store.delete([path])
    assert not store.write_if(path, b"of one that is gone", tag)
    assert store.write_if(path, b"a new one", None)
    assert store.read(path) == b"a new one"


@pytest.mark.parametrize("tag", [None, "current"])
def test_a_conditional_write_whose_answer_is_lost_is_not_taken_for_another_writers(
    proxy, path, tag
):
    store = store_of(path)
    if tag is None:
        store.delete([path])
    else:
        _, tag = store.read_tagged(path)
    proxy.fault = Fault("PUT", "lost")
    assert store.write_if(path, b"mine", tag)
    assert proxy.fault.hits == 1
    assert store.read(path) == b"mine"


def test_of_many_conditional_writes_at_once_one_succeeds(proxy, path):
    store = store_of(path)
    _, tag = store.read_tagged(path)
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda n: store.write_if(path, b"%d" % n, tag), range(8)))
    assert written.count(True) == 1
    assert store.read(path) == b"%d" % written.index(True)


def test_a_large_file_is_uploaded_and_downloaded(proxy, path, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"".join(bytes([number]) * (1 << 20) for number in range(20)))
    store_of(path).upload(source, f"{path}.large")
    store_of(path).download(f"{path}.large", target)
    assert filecmp.cmp(source, target, shallow=False)
    with pytest.raises(FileNotFoundError):
        store_of(path).download(f"{path}.gone", target)


@pytest.mark.parametrize("name", ["503", "reset", "cut", "damage"])
def test_a_download_is_repeated_until_it_is_whole(proxy, path, tmp_path, name):
    proxy.fault = Fault("GET", name)
    store_of(path).download(path, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"a cat" * 999
    assert proxy.fault.hits == 1


def test_an_object_is_read_with_one_request(proxy, path):
    store_of(path).read(path)
    proxy.clear()
    assert store_of(path).read(path) == b"a cat" * 999
    assert proxy.verbs == {"GET": 1}


def test_all_objects_are_read_with_one_client_and_one_request_each(proxy, path, monkeypatch):
    if not path.startswith("gs://"):
        pytest.skip("images are read from S3 in test_image_store_faults")
    stores._google_client.cache_clear()
    created, client = [], storage.Client

    def counted(*arguments: object, **named: object) -> storage.Client:
        created.append(client(*arguments, **named))
        return created[-1]

    monkeypatch.setattr(storage, "Client", counted)
    for _ in range(5):
        files.read_bytes(path)
        assert file_at(path)
    assert len(created) == 1
    # Google's client also asks once for the bucket.
    objects = {key: times for key, times in proxy.requests.items() if key.endswith(".jpg")}
    assert list(objects.values()) == [5, 5]


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05.678Z",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05+02:00",
        "2026-01-02",
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "1767323045",
        1767323045.5,
    ],
)
def test_times_of_objects_are_those_of_botocore(text):
    assert stores._timestamp(text) == parse_timestamp(text)
