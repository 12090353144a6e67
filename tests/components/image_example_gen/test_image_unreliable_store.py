"""An ingestion from an unreliable store gives what one from disk gives, or names the object."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_bucket import SCHEMES, faulty_bucket
from pictures_on_disk import write_pictures

from benchmarks.faults.faulty_store import Fault, FaultyStore, Unreliable
from components.image_example_gen import shard_children, shards
from components.image_example_gen.sources import list_images
from components.stores import StoreError, store_of

RULES = shards.Rules(positive_class="dogs", max_side=0, max_pixels=10**8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Pictures, one of them broken."""
    folder = tmp_path_factory.mktemp("photos")
    write_pictures(folder / "cats", 18, first_seed=0)
    write_pictures(folder / "dogs", 5, first_seed=100)
    (folder / "dogs" / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module", params=SCHEMES)
def store(request, photos) -> Iterator[tuple[str, FaultyStore]]:
    """A bucket with the pictures, and the proxy in front of it, which the environment names."""
    # Stand-ins of S3 in one process share their buckets.
    with faulty_bucket(request.param, "unreliable", delay_seconds=0.1) as (root, proxy):
        for path in photos.glob("*/*"):
            store_of(root).upload(path, f"{root}/{path.relative_to(photos)}")
        yield root, proxy


@pytest.fixture
def proxy(store) -> Iterator[FaultyStore]:
    store[1].clear()
    yield store[1]
    store[1].clear()


@pytest.fixture(params=[1, 2], ids=["one process", "child processes"])
def workers(request) -> Iterator[int]:
    yield request.param
    shard_children.end()


def ingested(source: object, folder: Path, workers: int) -> list[tuple[bytes, shards.Outcome]]:
    """The records and the outcomes of three shards."""
    folder.mkdir()
    staging = shards.Staging(str(folder))
    records = list_images(str(source))
    for shard in range(3):
        staging.write_listing(shard, 8 * shard, records[8 * shard : 8 * shard + 8])
    shard_children.ingest(range(3), staging, RULES, workers)
    return [
        (Path(staging.examples(shard)).read_bytes(), staging.read_outcome(shard))
        for shard in range(3)
    ]


def test_an_unreliable_store_gives_the_records_of_the_disk(store, proxy, photos, workers, tmp_path):
    proxy.unreliable = Unreliable(3)
    found = ingested(store[0], tmp_path / "bucket", workers)
    assert set(proxy.unreliable.hits.values()) >= {"503", "reset", "delay", "cut", "damage"}
    assert found == ingested(photos, tmp_path / "disk", 1)
    refused = [refusal.reason for _, outcome in found for refusal in outcome.refusals]
    assert refused == ["not_an_image"]


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_an_object_that_can_never_be_read_ends_the_ingestion_and_is_named(
    store, proxy, workers, tmp_path, fault
):
    list_images(store[0])
    proxy.fault = Fault("GET", fault, first=9, times=None)
    with pytest.raises(StoreError) as error:
        ingested(store[0], tmp_path / "bucket", workers)
    key = proxy.fault.path.rpartition("/unreliable/")[2]
    assert str(error.value).startswith(f"{store[0]}/{key} can't be read")
    assert "check that" in str(error.value)
    finished = [path.name for path in (tmp_path / "bucket").glob("outcome-*")]
    assert len(finished) < 3
