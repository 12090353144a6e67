"""Reads without boto3 ask as boto3 does, and leave to it what they can't do."""

import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from stores_on_localhost import amazon
from tls_on_localhost import localhost_tls

from benchmarks.faults.faulty_store import FaultyStore, faulty_store
from components.s3_reads import S3Reads, Scope, signed

KEYS = ["cats/1.jpg", "cats/a b+c%20(é)~'.jpg", "dogs//2?x=1#y.jpg"]


@pytest.fixture(scope="module")
def store():
    """A bucket with the keys behind a proxy, and a client of it."""
    with (
        amazon("photos") as variables,
        pytest.MonkeyPatch.context() as patch,
        faulty_store(urlsplit(variables["AWS_ENDPOINT_URL"]).port) as proxy,
    ):
        for name, value in {**variables, "AWS_ENDPOINT_URL": proxy.url}.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        for key in KEYS:
            client.put_object(Bucket="photos", Key=key, Body=key.encode())
        yield proxy, client


@pytest.fixture
def proxy(store) -> FaultyStore:
    store[0].clear()
    return store[0]


@pytest.fixture
def reads(store, proxy) -> S3Reads:
    """Reads by what is known of the bucket from one request."""
    reads = S3Reads(store[1], 4)
    store[1].get_object(Bucket="photos", Key=KEYS[0])
    proxy.clear()
    return reads


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("token", [None, "a/token+="])
def test_the_signature_is_that_of_boto3(key, token, monkeypatch):
    now = time.gmtime(1_800_000_000)
    moment = SimpleNamespace(strftime=lambda form: time.strftime(form, now))
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment)
    credentials = Credentials("an id", "a secret", token).get_frozen_credentials()
    host, path = "127.0.0.1:9000", "/photos/" + botocore.auth.quote(key, safe="/~")
    expected = AWSRequest("GET", f"http://{host}{path}", {"x-amz-checksum-mode": "ENABLED"})
    botocore.auth.S3SigV4Auth(credentials, "s3", "eu-central-1").add_auth(expected)
    found = signed(host, path, Scope("s3", "eu-central-1"), credentials, now)
    assert found["authorization"] == expected.headers["Authorization"]
    assert found.get("x-amz-security-token") == token


@pytest.mark.parametrize("key", KEYS)
def test_an_object_is_read_with_one_request(reads, proxy, key):
    assert reads.read("photos", key) == key.encode()
    assert proxy.verbs == {"GET": 1}


def test_a_bucket_of_which_nothing_is_known_is_left_to_boto3(reads, proxy):
    assert reads.read("other", KEYS[0]) is None
    assert proxy.verbs == {}


@pytest.mark.parametrize("fault", ["403", "503", "reset", "cut", "damage"])
def test_what_is_no_complete_object_is_left_to_boto3(reads, proxy, fault):
    proxy.faults[f"photos/{KEYS[0]}"] = fault
    proxy.faults[KEYS[0]] = fault
    assert reads.read("photos", KEYS[0]) is None


def test_a_store_that_refuses_is_asked_by_boto3_alone_from_then_on(store, reads, proxy):
    proxy.faults[KEYS[0]], proxy.times[KEYS[0]] = "403", 1
    assert reads.read("photos", KEYS[0]) is None
    store[1].get_object(Bucket="photos", Key=KEYS[0])
    proxy.clear()
    assert reads.read("photos", KEYS[0]) is None
    assert proxy.verbs == {}


def test_a_proxy_server_is_left_to_boto3(store, proxy, monkeypatch):
    reads = S3Reads(store[1], 4)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "")
    # The client was made before, and does not use it.
    store[1].get_object(Bucket="photos", Key=KEYS[0])
    assert reads.read("photos", KEYS[0]) is None


@pytest.mark.parametrize("is_known", [True, False])
def test_a_server_is_verified_with_the_certificates_of_boto3(
    store, proxy, monkeypatch, tmp_path, is_known
):
    certificate, context = localhost_tls(tmp_path)
    with faulty_store(proxy.target, tls=context) as secure:
        monkeypatch.setenv("AWS_ENDPOINT_URL", secure.url)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        client = boto3.client("s3")
        if not is_known:
            monkeypatch.delenv("AWS_CA_BUNDLE")
        reads = S3Reads(client, 4)
        client.get_object(Bucket="photos", Key=KEYS[0])
        assert reads.read("photos", KEYS[1]) == (KEYS[1].encode() if is_known else None)
