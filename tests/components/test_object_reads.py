"""Objects are read and verified with one request, or left to the store's client."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from faulty_bucket import ADDRESSES, SCHEMES, faulty_bucket
from tls_on_localhost import localhost_tls

from benchmarks.faults.faulty_store import Fault, FaultyStore, faulty_store
from components import object_reads
from components.image_example_gen import files
from components.stores import store_of

PLAIN = ["cats/1.jpg", "cats/a b+c%20(é)~'.jpg", "[x]*{}=&@:$!,;.jpg", "a%2Fb", "日本/a..b/..."]
CHANGED = ["/lead", "trail/", "a//b", "a/./b", "tab\there"]
KINDS = {"s3": "amazon", "gs": "google"}
FAULTS = ("403", "503", "reset", "cut", "damage")


@pytest.fixture(scope="module", params=SCHEMES)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, FaultyStore]]:
    """A bucket, in which the content of an object is its key, and the proxy in front of it."""
    with faulty_bucket(request.param, "objects") as (root, proxy):
        for key in PLAIN:
            store_of(root).write(f"{root}/{key}", key.encode())
        yield root, proxy


@pytest.fixture
def proxy(server: tuple[str, FaultyStore]) -> Iterator[FaultyStore]:
    """The proxy; the bucket is known by the client's request for an object."""
    root, proxy = server
    make_known(root)
    proxy.clear()
    yield proxy
    proxy.clear()


@pytest.fixture
def root(server: tuple[str, FaultyStore]) -> str:
    return server[0]


def read(path: str) -> bytes | None:
    """What a thread other than the main one reads."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(object_reads.read, path).result()


def forget() -> None:
    object_reads._reads.cache_clear()
    object_reads._current.clear()


def make_known(root: str) -> None:
    """Forgets all buckets, and lets the client ask for an object, from which it is learned how."""
    forget()
    read(f"{root}/{PLAIN[0]}")
    if root.startswith("s3://"):
        store_of(root).read(f"{root}/{PLAIN[0]}")


def in_s3(root: str) -> None:
    if not root.startswith("s3://"):
        pytest.skip("the stand-in of Google Cloud Storage can't do this")


@pytest.mark.parametrize("key", PLAIN)
def test_an_object_is_read_with_one_request(proxy, root, key):
    assert read(f"{root}/{key}") == key.encode()
    assert proxy.verbs == {"GET": 1}


@pytest.mark.parametrize("key", CHANGED)
def test_no_other_object_is_read_for_a_key_that_obstore_changes(proxy, root, key):
    in_s3(root)
    for other in (key, key.strip("/")):
        store_of(root).write(f"{root}/{other}", other.encode())
    assert read(f"{root}/{key}") is None
    assert files.read_bytes(f"{root}/{key}") == key.encode()


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_whole_object_is_left_to_the_client(proxy, root, fault):
    proxy.fault = Fault("GET", fault)
    assert read(f"{root}/{PLAIN[0]}") is None
    assert proxy.verbs == {"GET": 1}


def test_an_object_of_several_parts_is_left_to_the_client(proxy, root):
    in_s3(root)
    client, key = boto3.client("s3"), "parts.jpg"
    bucket = root.removeprefix("s3://")
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    place = {"Bucket": bucket, "Key": key, "UploadId": upload}
    tag = client.upload_part(**place, PartNumber=1, Body=b"all")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    client.complete_multipart_upload(**place, MultipartUpload=parts)
    assert read(f"{root}/{key}") is None
    assert files.read_bytes(f"{root}/{key}") == b"all"


def test_a_bucket_of_s3_is_known_by_the_first_request_of_the_client(proxy, root):
    in_s3(root)
    forget()
    assert read(f"{root}/{PLAIN[0]}") is None
    assert proxy.verbs == {}
    store_of(root).read(f"{root}/{PLAIN[0]}")
    assert read(f"{root}/{PLAIN[0]}") == PLAIN[0].encode()


def test_the_main_thread_reads_with_the_client_which_a_signal_interrupts(proxy, root):
    assert object_reads.read(f"{root}/{PLAIN[0]}") is None
    assert proxy.verbs == {}


def test_a_forked_process_reads_with_the_client(proxy, root):
    path = f"{root}/{PLAIN[0]}"
    assert read(path) == PLAIN[0].encode()

    def in_child() -> None:
        make_known(root)
        read_by_client = read(path) is None and files.read_bytes(path) == PLAIN[0].encode()
        os._exit(0 if read_by_client else 1)

    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    child.join(timeout=60)
    found, _ = child.exitcode, child.kill()
    assert found == 0


def test_after_failures_in_a_row_a_bucket_is_left_to_the_client_for_a_while(
    proxy, root, monkeypatch
):
    most = object_reads._MOST_FAILURES
    proxy.fault = Fault("GET", "503", times=most - 1)
    for _ in range(most - 1):
        read(f"{root}/{PLAIN[0]}")
    assert read(f"{root}/{PLAIN[0]}") is not None  # which ends the row
    proxy.clear()
    proxy.fault = Fault("GET", "503", times=most)
    for _ in range(2 * most):
        assert read(f"{root}/{PLAIN[0]}") is None
    assert proxy.verbs == {"GET": most}
    later = object_reads.time.monotonic() + 2 * object_reads._REST_SECONDS
    monkeypatch.setattr(object_reads.time, "monotonic", lambda: later)
    assert read(f"{root}/{PLAIN[0]}") == PLAIN[0].encode()


def test_requests_go_through_the_proxy_server_of_the_environment(proxy, root, monkeypatch):
    with faulty_store(proxy.target) as between:
        monkeypatch.setenv("http_proxy", between.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        make_known(root)
        for store in (proxy, between):
            store.clear()
        read(f"{root}/{PLAIN[0]}")
        assert (proxy.verbs, between.verbs) == ({}, {"GET": 1})


@pytest.mark.parametrize("is_known", [True, False])
def test_a_server_is_verified_with_the_certificates_of_the_client(
    proxy, root, monkeypatch, tmp_path, is_known
):
    certificate, context = localhost_tls(tmp_path)
    bundle = {"s3": "AWS_CA_BUNDLE", "gs": "REQUESTS_CA_BUNDLE"}[root[:2]]
    with faulty_store(proxy.target, tls=context) as secure:
        monkeypatch.setenv(ADDRESSES[root[:2]], secure.url)
        monkeypatch.setenv(bundle, str(certificate))
        if not is_known:
            monkeypatch.setattr(object_reads, f"_{KINDS[root[:2]]}_authorities", lambda: None)
        make_known(root)
        assert read(f"{root}/{PLAIN[0]}") == (PLAIN[0].encode() if is_known else None)
