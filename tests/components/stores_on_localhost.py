"""Stand-ins of S3 and Google Cloud Storage on localhost."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer


@contextmanager
def amazon(bucket: str) -> Iterator[dict[str, str]]:
    """Yields the environment of a client of a server of S3 with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.get_host_and_port()[1]}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    ).create_bucket(Bucket=bucket)
    yield variables
    server.stop()


@contextmanager
def google(bucket: str) -> Iterator[dict[str, str]]:
    """Yields the environment of a client of a server of Google's JSON API with a bucket."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
    server.start()
    _, port = server._api._httpd.server_address
    yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
    server.stop()
