"""Stand-ins of S3 and Google Cloud Storage on localhost, which keep to the conditions of writes."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from unittest import mock

import boto3
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import Response, create_server
from moto.s3.responses import S3Response
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
    with mock.patch.object(S3Response, "_key_response_put", _one_by_one()):
        yield variables
    server.stop()


def _one_by_one() -> Callable[..., Any]:
    """Moto checks a condition and writes in two steps, and serves requests in threads."""
    put, lock = S3Response._key_response_put, threading.Lock()

    def put_one(*arguments: Any, **named: Any) -> Any:
        with lock:
            return put(*arguments, **named)

    return put_one


@contextmanager
def google(bucket: str) -> Iterator[dict[str, str]]:
    """Yields the environment of a client of a server of Google's JSON API with a bucket."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
    server.start()
    _, port = server._api._httpd.server_address
    with (
        mock.patch.object(objects, "_multipart_upload", _upload_if),
        mock.patch.object(Response, "write_file", _write_tagged),
    ):
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
    server.stop()


_upload, _write = objects._multipart_upload, Response.write_file


def _write_tagged(response: Response, content: bytes, *arguments: Any, **named: Any) -> None:
    """The stand-in gives no tag and time of an object with its content, as the XML API does."""
    response["ETag"] = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    response["Last-Modified"] = "Thu, 01 Jan 2026 00:00:00 GMT"
    _write(response, content, *arguments, **named)


def _upload_if(request: Any, response: Any, storage: Any) -> None:
    """The stand-in ignores `ifGenerationMatch`; it serves one request at a time."""
    name = request.query["name"][0] if "name" in request.query else request.data["meta"]["name"]
    try:
        found = storage.get_file_obj(request.params["bucket_name"], name)["generation"]
    except NotFound:
        found = "0"
    if request.query.get("ifGenerationMatch", [found]) == [found]:
        _upload(request, response, storage)
    else:
        response.status = HTTPStatus.PRECONDITION_FAILED
