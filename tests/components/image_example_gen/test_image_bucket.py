"""Names in a bucket are taken literally, even if they look like patterns."""

import os
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from components import object_store
from components.image_example_gen import abandoned, files
from components.image_example_gen.sources import SourceError, data_version, list_images

BUCKET = "photos"
ODD = ["exp[1]/dogs/a[1].png", "exp[1]/dogs/b?.png", "exp[1]/cats*/c.png"]
MATCHED = ["exp1/dogs/a1.png", "exp1/cats/c.png", "exp1/birds/d.png"]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URI of a bucket with files whose names look like patterns, and files that these match."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.get_host_and_port()[1]}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for key in [*ODD, *MATCHED]:
            client.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
        yield f"s3://{BUCKET}"
    server.stop()


def test_a_source_whose_name_looks_like_a_pattern_is_listed_and_nothing_else(bucket):
    records = list_images(f"{bucket}/exp[1]", positive_class="dogs")
    assert [record.uri for record in records] == ["cats*/c.png", "dogs/a[1].png", "dogs/b?.png"]
    assert {record.class_name for record in records} == {"cats*", "dogs"}
    for record in records:
        assert files.read_bytes(record.path).decode() == f"exp[1]/{record.uri}"


@pytest.mark.parametrize("key", [*ODD, *MATCHED])
def test_a_file_is_found_by_its_exact_name(bucket, key):
    found = files.find(key, f"{bucket}/{key}")
    assert found is not None
    assert (found.path, found.size) == (f"{bucket}/{key}", len(key))


@pytest.mark.parametrize("key", ["exp1/dogs/*", "exp1/dogs/a[1].png", "exp?/dogs/a1.png"])
def test_a_pattern_finds_no_file(bucket, key):
    assert files.find(key, f"{bucket}/{key}") is None


def test_a_uri_in_a_manifest_is_not_a_pattern(bucket, tmp_path):
    manifest = tmp_path / "rows.csv"
    rows = ["exp[1]/dogs/a[1].png,dogs", f"{bucket}/exp[1]/cats*/c.png,cats"]
    manifest.write_text("\n".join(["uri,label", *rows]) + "\n")
    records = list_images(bucket, manifest=str(manifest))
    assert [os.path.basename(record.path) for record in records] == ["c.png", "a[1].png"]


def test_an_object_replaced_by_another_of_its_size_is_detected_by_its_checksum(bucket):
    def version(verify: str) -> str:
        # Without times, since the store keeps whole seconds, only the content differs.
        records = [record._replace(mtime_ns=0) for record in list_images(f"{bucket}/exp1")]
        return data_version(records, verify=verify)

    def put(content: bytes) -> None:
        boto3.client("s3").put_object(Bucket=BUCKET, Key="exp1/dogs/a1.png", Body=content)

    modes = ("size_and_time", "heads", "content")
    before = {verify: version(verify) for verify in modes}
    put(b"exp1/dogs/a1.pnX")
    assert all(version(verify) != before[verify] for verify in modes)
    put(b"exp1/dogs/a1.png")
    assert {verify: version(verify) for verify in modes} == before


def test_an_object_without_a_checksum_is_refused_and_never_treated_as_unchanged(bucket):
    records = list_images(f"{bucket}/exp1")
    gone = [record._replace(path=f"{record.path}.gone", checksum="") for record in records]
    with pytest.raises(SourceError, match=r"cannot get the checksum of s3://.*\.gone "):
        data_version(gone, verify="content")


def test_in_a_bucket_the_output_of_an_ingestion_that_was_silent_for_a_day_is_removed(
    bucket, monkeypatch
):
    object_store.register()
    client = boto3.client("s3")
    keys = [
        f"root/{name}" for name in ("1/.staging/listing-00000", "1/Split-all/a", "2/Split-all/a")
    ]
    for key in keys:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"")

    def remaining() -> list[str]:
        abandoned.remove_abandoned(f"{bucket}/root")
        found = client.list_objects_v2(Bucket=BUCKET, Prefix="root/")
        return [item["Key"] for item in found["Contents"]]

    assert remaining() == keys
    now = abandoned.time.time()
    monkeypatch.setattr(abandoned.time, "time", lambda: now + 25 * 60 * 60)
    assert remaining() == keys[2:]
