"""What an S3 store could not give is never taken for a bad image."""

import os
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pictures_on_disk import encoded, picture
from tfx.dsl.io import fileio

from benchmarks.faults.faulty_store import FAULTS, FaultyStore, faulty_store
from components import object_store, stores
from components.image_example_gen import files, shards
from components.image_example_gen.sources import list_images
from components.stores import StoreError

BUCKET = "pictures"
KEYS = [f"{name}/{number}.jpg" for name in ("cats", "dogs") for number in range(3)]
KEY = KEYS[-1]
PATH = f"s3://{BUCKET}/{KEY}"


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyStore]:
    """A store with six pictures behind a proxy; the environment names the proxy."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    with (
        faulty_store(moto.get_host_and_port()[1]) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        variables = {
            "AWS_ENDPOINT_URL": store.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "2",
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(stores, "_PAUSE_SECONDS", 0)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for seed, key in enumerate(KEYS):
            client.put_object(Bucket=BUCKET, Key=key, Body=encoded(picture(seed)))
        yield store
    moto.stop()


@pytest.fixture
def store(server: FaultyStore) -> Iterator[FaultyStore]:
    yield server
    server.clear()


@pytest.mark.parametrize("fault", [*(fault for fault in FAULTS if fault != "403"), "delay"])
def test_a_fault_that_passes_is_not_noticed(store, fault):
    store.faults[KEY], store.times[KEY] = fault, 1
    assert files.read_bytes(PATH) == encoded(picture(KEYS.index(KEY)))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_an_error_that_names_the_object(store, fault):
    store.faults[KEY] = fault
    with pytest.raises(StoreError, match=rf"{PATH} can't be read or written .* \(.+\); check"):
        files.read_bytes(PATH)


def test_only_an_object_that_does_not_exist_is_missing(store):
    with pytest.raises(FileNotFoundError):
        files.read_bytes(f"{PATH}.gone")
    with pytest.raises(StoreError, match="NoSuchBucket"):
        files.read_bytes("s3://nowhere/1.jpg")


def test_an_ingestion_without_one_object_fails_and_the_next_one_has_all(store, ingest, tmp_path):
    store.faults[KEY] = "403"
    with pytest.raises(Exception, match=f"{PATH} can't be read or written") as error:
        ingest(f"s3://{BUCKET}")
    assert "StoreError" in repr(error.value) or isinstance(error.value, StoreError)
    assert os.listdir(tmp_path / "out/examples/1") == []
    store.clear()
    assert ingest(f"s3://{BUCKET}").summary["accepted"] == len(KEYS)


def test_an_object_that_vanishes_after_the_listing_is_quarantined(store, tmp_path):
    (record, *_) = list_images(f"s3://{BUCKET}")
    staging = shards.Staging(str(tmp_path))
    staging.write_listing(0, 0, [record._replace(path=f"{record.path}.gone")])
    shards.ingest([0], staging, shards.Rules(positive_class="dogs", max_side=0, max_pixels=9**9))
    assert [refusal.reason for refusal in staging.read_outcome(0).refusals] == ["missing"]


def test_a_disk_that_fails_is_not_a_bad_image(tmp_path, monkeypatch):
    def fail(path: str) -> bytes:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(files, "read_bytes", fail)
    record = shards.ImageRecord("a.jpg", "/disk/a.jpg", "cats", (), 9, 0)
    staging = shards.Staging(str(tmp_path))
    staging.write_listing(0, 0, [record])
    with pytest.raises(StoreError, match=r"/disk/a\.jpg can't be read .* check the disk"):
        shards.ingest(
            [0], staging, shards.Rules(positive_class="dogs", max_side=0, max_pixels=9**9)
        )


def test_all_objects_are_read_with_one_client_and_one_request_each(store, monkeypatch):
    stores._s3_client.cache_clear()
    created, session = [], boto3.session.Session

    def counted(**options: object) -> boto3.session.Session:
        created.append(session(**options))
        return created[-1]

    monkeypatch.setattr(boto3.session, "Session", counted)
    for key in KEYS:
        assert files.find(key, f"s3://{BUCKET}/{key}")
        files.read_bytes(f"s3://{BUCKET}/{key}")
    assert len(created) == 1
    assert [store.requests[key] for key in KEYS] == [1] * len(KEYS)


def test_a_file_that_the_store_refuses_is_not_taken_for_missing(store):
    object_store.register()
    store.faults[KEY] = "403"
    with pytest.raises(StoreError, match=PATH):
        fileio.open(PATH, "rb")
    with pytest.raises(fileio.NotFoundError):
        fileio.open(f"{PATH}.gone", "rb")
