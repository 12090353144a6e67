"""The gateway refuses harmful requests with an error and keeps serving."""

import base64
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path

import numpy as np
import psutil
import pytest
import urllib3
from gateway_under_test import TIMEOUT, Client, free_port, running, wait_until
from pictures_on_disk import encoded, picture
from PIL import Image
from serving_stand_in import probability_of

from components.images.reader import read_image

ROOT = Path(__file__).resolve().parents[3]
PREDICT = "/v1/models/outnumbered:predict"
IMAGE = encoded(picture(1))
MEGABYTE = 2**20


def v1(*images):
    return {"instances": [{"b64": base64.b64encode(image).decode()} for image in images]}


def is_serving(client):
    return client.post(PREDICT, v1(IMAGE)).status == 200


def request_head(length, path="/predict", *lines):
    """Returns the headers of a request with a body of `length` bytes; None for chunks."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: a", framing, *lines, "", ""]).encode()


def read_until_closed(connection):
    """Returns everything received until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


def read_response(connection):
    response = HTTPResponse(connection)
    response.begin()
    return response


@pytest.mark.parametrize(
    "body", [b"[" * 50_000, b'{"instances":' + b"[" * 50_000, b'{"a":' * 50_000]
)
def test_fifty_thousand_nested_brackets_are_refused(client, stand_in, body):
    for path in (PREDICT, "/v2/models/outnumbered/infer"):
        response = client.post(path, body)
        assert (response.status, response.json["reason"]) == (400, "json_too_deep")
    assert is_serving(client)
    assert len(stand_in.seen) == 1


def test_two_hundred_parallel_requests_each_get_the_predictions_for_their_images(client, stand_in):
    stand_in.delay = 0.01
    images = [encoded(picture(seed, size=(24, 16)), "PNG") for seed in range(200)]
    start = threading.Barrier(200, timeout=TIMEOUT)

    def request(number):
        start.wait()
        pair = [images[number], images[number - 1]]
        response = client.post(PREDICT, v1(*pair))
        expected = [probability_of(read_image(image, max_side=40).data) for image in pair]
        if response.status == 200:
            scores = [found["probability"] for found in response.json["predictions"]]
            assert scores == expected
        else:
            assert response.headers["Retry-After"]
            assert response.json["reason"] == "busy"
        return response.status

    with ThreadPoolExecutor(200) as threads:
        statuses = Counter(threads.map(request, range(200)))
    assert statuses.keys() <= {200, 503}
    assert statuses[200] >= 64
    assert client.metric("in_flight") == 0
    assert is_serving(client)


def test_requests_beyond_max_in_flight_get_503_with_retry_after(registry, stand_in):
    with running(registry, stand_in.target, max_in_flight=2) as client:
        stand_in.delay = 1.0
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: client.post(PREDICT, v1(IMAGE)), range(8)))
        assert Counter(response.status for response in found) == {200: 2, 503: 6}
        assert {response.headers.get("Retry-After") for response in found} == {None, "1"}
        stand_in.delay = 0.0
        assert is_serving(client)


def test_a_client_above_its_rate_gets_429_with_retry_after(registry, stand_in):
    with running(registry, stand_in.target, rate=0.01, burst=3, await_ready=False) as client:
        wait_until(lambda: client.get("/readyz").status == 200, "readiness")
        found = [client.post(PREDICT, v1(IMAGE)) for _ in range(5)]
        assert [response.status for response in found] == [200, 200, 200, 429, 429]
        assert 90 <= int(found[-1].headers["Retry-After"]) <= 100
        assert client.get("/healthz").status == 200
        assert client.metric('refused_requests_total{reason="rate"}') == 2


@pytest.fixture
def guarded(registry, stand_in, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("first\nsecond\n")
    with running(registry, stand_in.target, tokens_file=tokens) as client:
        yield client


def test_if_tokens_are_set_every_path_but_probes_and_metrics_requires_one(guarded, stand_in):
    for path in ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"):
        assert guarded.get(path).status == 200
    for given in ({}, {"Authorization": "Bearer third"}, {"Authorization": "Basic first"}):
        for response in (
            guarded.post(PREDICT, v1(IMAGE), headers=given),
            guarded.post("/predict", IMAGE, headers=given),
            guarded.get("/v1/models/outnumbered", headers=given),
            guarded.get("/nothing", headers=given),
        ):
            assert (response.status, response.json["reason"]) == (401, "unauthorized")
            assert response.headers["WWW-Authenticate"] == "Bearer"
    assert not stand_in.seen
    for token in ("first", "second"):
        headers = {"Authorization": f"Bearer {token}"}
        assert guarded.post(PREDICT, v1(IMAGE), headers=headers).status == 200


def test_a_request_without_a_token_is_refused_before_its_body_arrives(guarded):
    with guarded.connect() as connection:
        connection.sendall(request_head(10**6))
        assert read_response(connection).status == 401


def test_a_content_length_above_the_limit_is_refused_before_the_body_arrives(client):
    with client.connect() as connection:
        connection.sendall(request_head(100 * MEGABYTE))
        assert read_response(connection).status == 413
    assert is_serving(client)


def test_a_compressed_body_is_refused(client):
    response = client.post("/predict", IMAGE, headers={"Content-Encoding": "gzip"})
    assert (response.status, response.json["reason"]) == (415, "compressed")


def test_a_request_with_too_many_images_is_refused(client):
    response = client.post(PREDICT, v1(*[b"x"] * 65))
    assert (response.status, response.json["reason"]) == (400, "too_many_images")


def test_the_bytes_of_all_bodies_in_memory_are_limited(registry, stand_in):
    bounds = {"max_body_bytes": 600_000, "max_bytes_in_flight": 1_000_000, "body_timeout": TIMEOUT}
    with running(registry, stand_in.target, **bounds) as client:
        with client.connect() as first, client.connect() as second:
            for connection in (first, second):
                connection.sendall(request_head(600_000))
                connection.sendall(b"x" * 599_000)
            refused, _, _ = select.select([first, second], [], [], TIMEOUT)
            assert read_response(refused[0]).status == 503
        wait_until(lambda: is_serving(client), "free memory")


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_a_connection_that_does_not_send_all_headers_is_closed(registry, stand_in, bytes_sent):
    with running(registry, stand_in.target, header_timeout=1) as client:
        with client.connect() as connection:
            connection.sendall(bytes_sent)
            stop = threading.Event()

            def send_slowly():
                with contextlib.suppress(OSError):
                    while not stop.wait(0.1):
                        connection.sendall(b"a" if bytes_sent else b"")

            threading.Thread(target=send_slowly, daemon=True).start()
            read_until_closed(connection)  # ends, although bytes keep arriving
            stop.set()
        assert is_serving(client)


def test_a_body_that_arrives_too_slowly_gets_408(registry, stand_in):
    with running(registry, stand_in.target, body_timeout=0.5) as client:
        with client.connect() as connection:
            connection.sendall(request_head(1000) + b"x")
            response = read_response(connection)
            assert response.status == 408
            assert json.load(response)["reason"] == "body_timeout"
        assert is_serving(client)
        assert client.metric("in_flight") == 0


def test_clients_that_send_slowly_do_not_block_others(registry, stand_in):
    limits = {"max_in_flight": 1, "max_bodies_arriving": 3, "body_timeout": TIMEOUT}
    with running(registry, stand_in.target, **limits) as client, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(client.connect()) for _ in range(3)]
        for connection in slow[:2]:
            connection.sendall(request_head(len(IMAGE)) + IMAGE[:9])
        wait_until(lambda: client.metric("in_flight") == 2, "slow requests")
        assert is_serving(client)
        slow[2].sendall(request_head(len(IMAGE)))
        wait_until(lambda: client.metric("in_flight") == 3, "third request")
        response = client.post("/predict", IMAGE)
        assert (response.status, response.json["reason"]) == (503, "busy")
        slow[0].sendall(IMAGE[9:])
        assert read_response(slow[0]).status == 200
        assert is_serving(client)


def test_the_bytes_of_all_images_after_reading_are_limited(registry, stand_in):
    noise = np.random.default_rng(1).integers(0, 256, (2, 40, 3), np.uint8)
    small = encoded(Image.fromarray(np.tile(noise, (20, 1, 1))), "WEBP", lossless=True)
    grown = len(read_image(small, max_side=40).data)
    count = 8
    assert grown * count > 8_000 > 2 * grown
    assert len(json.dumps(v1(*[small] * count))) < 8_000
    with running(
        registry, stand_in.target, max_body_bytes=8_000, max_bytes_in_flight=8_000
    ) as client:
        response = client.post(PREDICT, v1(*[small] * count))
        assert (response.status, response.json["reason"]) == (413, "images_too_large")
        assert client.post(PREDICT, v1(small, small)).status == 200
    assert len(stand_in.seen) == 1


def test_a_response_may_take_longer_than_the_header_timeout(registry, stand_in):
    with running(registry, stand_in.target, header_timeout=1) as client:
        stand_in.delay = 1.3
        assert is_serving(client)


def test_a_request_that_takes_too_long_in_total_gets_504(registry, stand_in):
    with running(registry, stand_in.target, request_timeout=0.5) as client:
        stand_in.delay = 1.5
        response = client.post(PREDICT, v1(IMAGE))
        assert (response.status, response.json["reason"]) == (504, "request_timeout")
        assert client.metric("in_flight") == 0


def test_a_disconnected_client_frees_its_resources(client):
    for part in (b"", b"x" * 500):
        with client.connect() as connection:
            connection.sendall(request_head(1000) + part)
            wait_until(lambda: client.metric("in_flight") == 1, "request")
        wait_until(lambda: client.metric("in_flight") == 0, "end of the request")
    assert is_serving(client)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000,
        request_head(10, "/predict", "Transfer-Encoding: chunked"),
        request_head("-1"),
        request_head("1e3"),
        request_head(3, "/predict", "Content-Length: 5"),
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_malformed_http_is_refused(client, request_bytes):
    with client.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request_bytes)
            connection.shutdown(socket.SHUT_WR)
        response = read_until_closed(connection)
    assert not response or response.split()[1] == b"400"
    assert is_serving(client)


@pytest.fixture
def process(registry, stand_in, tmp_path):
    """A gateway in its own process, started as in its image, and its client."""
    port = free_port()
    settings = {
        "REGISTRY": registry,
        "UPSTREAM": stand_in.target,
        "HOST": "127.0.0.1",
        "PORT": port,
        "POLL_SECONDS": 0.1,
    }
    variables = {f"OUTNUMBERED_GATEWAY_{name}": str(value) for name, value in settings.items()}
    path = os.pathsep.join([str(ROOT / "deploy" / "gateway"), str(ROOT)])
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env={**os.environ, **variables, "PYTHONPATH": path},
            stderr=log,
        )
    client = Client(port)

    def is_ready():
        assert started.poll() is None, (tmp_path / "log").read_text()
        with contextlib.suppress(Exception):  # it is not listening yet
            return client.get("/readyz").status == 200
        return False

    try:
        wait_until(is_ready, "readiness")
        yield started, client
    finally:
        started.terminate()
        assert started.wait(TIMEOUT) in {0, -15}


def send_repeatedly(connection, chunk, total):
    """Sends a chunk repeatedly until `total` bytes are sent or a response arrives."""
    sent = 0
    connection.settimeout(0.05)
    while sent < total:
        with contextlib.suppress(TimeoutError):
            connection.sendall(chunk)
        sent += len(chunk)
        with contextlib.suppress(TimeoutError):
            return sent, connection.recv(65536)
    connection.settimeout(TIMEOUT)
    return sent, connection.recv(65536)


def test_a_body_of_a_hundred_megabytes_is_refused_early_and_not_kept_in_memory(process):
    started, client = process
    assert is_serving(client)
    memory = psutil.Process(started.pid).memory_info
    before = memory().rss
    data = b"x" * MEGABYTE
    chunk = f"{MEGABYTE:x}\r\n".encode() + data + b"\r\n"
    for path in ("/predict", PREDICT):
        with client.connect() as connection:
            connection.sendall(request_head(None, path))
            sent, response = send_repeatedly(connection, chunk, 100 * MEGABYTE)
        assert response.split()[1] == b"413"
        assert sent < 60 * MEGABYTE
    # The longest accepted body is 32 MiB; while it grows, there may be two copies.
    assert memory().rss - before < 110 * MEGABYTE
    assert is_serving(client)


def test_on_sigterm_the_process_ends_after_its_last_response(process, stand_in):
    started, client = process
    stand_in.delay = 1.0
    with ThreadPoolExecutor(1) as threads, client.connect() as idle:
        last = threads.submit(client.post, PREDICT, v1(IMAGE))
        wait_until(lambda: client.metric("in_flight") == 1, "last request")
        started.terminate()
        assert read_until_closed(idle) == b""
        with pytest.raises(urllib3.exceptions.HTTPError):
            Client(client.port).get("/healthz")
        assert last.result().status == 200
    assert started.wait(TIMEOUT) in {0, -15}


def test_an_invalid_setting_stops_the_start_with_a_message():
    path = os.pathsep.join([str(ROOT / "deploy" / "gateway"), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env={**os.environ, "PYTHONPATH": path, "OUTNUMBERED_GATEWAY_PORT": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("gateway: OUTNUMBERED_GATEWAY_")
    assert "Traceback" not in run.stderr


def test_the_gateway_imports_neither_tensorflow_nor_tfx():
    path = os.pathsep.join([str(ROOT / "deploy" / "gateway"), str(ROOT)])
    code = "import gateway.server, sys, json; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in json.loads(run.stdout)}
    assert not loaded & {"tensorflow", "tfx", "tensorflow_serving", "keras", "apache_beam"}
    assert {"gateway", "components", "PIL", "grpc", "starlette"} <= loaded
