"""Whatever a client sends, the gateway refuses it in words and keeps serving."""

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
from gateway_under_test import LIMIT, Client, free_port, running, until
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


def serves(client):
    return client.post(PREDICT, v1(IMAGE)).status == 200


def head(length, path="/predict", *lines):
    """The head of a request whose body has a length; None for a body in chunks."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: a", framing, *lines, "", ""]).encode()


def received(connection):
    """All that comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


def received_answer(connection):
    answer = HTTPResponse(connection)
    answer.begin()
    return answer


@pytest.mark.parametrize(
    "body", [b"[" * 50_000, b'{"instances":' + b"[" * 50_000, b'{"a":' * 50_000]
)
def test_fifty_thousand_nested_brackets(client, stand_in, body):
    for path in (PREDICT, "/v2/models/outnumbered/infer"):
        answer = client.post(path, body)
        assert (answer.status, answer.json["reason"]) == (400, "json_too_deep")
    assert serves(client)
    assert len(stand_in.seen) == 1


def test_two_hundred_parallel_requests_are_each_answered_for_their_own_images(client, stand_in):
    stand_in.delay = 0.01
    images = [encoded(picture(seed, size=(24, 16)), "PNG") for seed in range(200)]
    start = threading.Barrier(200, timeout=LIMIT)

    def ask(number):
        start.wait()
        pair = [images[number], images[number - 1]]
        answer = client.post(PREDICT, v1(*pair))
        expected = [probability_of(read_image(image, max_side=40).data) for image in pair]
        if answer.status == 200:
            scores = [found["probability"] for found in answer.json["predictions"]]
            assert scores == expected
        else:
            assert answer.headers["Retry-After"]
            assert answer.json["reason"] == "busy"
        return answer.status

    with ThreadPoolExecutor(200) as threads:
        statuses = Counter(threads.map(ask, range(200)))
    assert statuses.keys() <= {200, 503}
    assert statuses[200] >= 64
    assert client.metric("in_flight") == 0
    assert serves(client)


def test_more_than_is_in_flight_is_told_to_come_back(registry, stand_in):
    with running(registry, stand_in.target, max_in_flight=2) as client:
        stand_in.delay = 1.0
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: client.post(PREDICT, v1(IMAGE)), range(8)))
        assert Counter(answer.status for answer in found) == {200: 2, 503: 6}
        assert {answer.headers.get("Retry-After") for answer in found} == {None, "1"}
        stand_in.delay = 0.0
        assert serves(client)


def test_a_client_that_asks_too_often_is_told_when_to_come_back(registry, stand_in):
    with running(registry, stand_in.target, rate=0.01, burst=3, await_ready=False) as client:
        until(lambda: client.get("/readyz").status == 200, "readiness")
        found = [client.post(PREDICT, v1(IMAGE)) for _ in range(5)]
        assert [answer.status for answer in found] == [200, 200, 200, 429, 429]
        assert 90 <= int(found[-1].headers["Retry-After"]) <= 100
        assert client.get("/healthz").status == 200
        assert client.metric('refused_requests_total{reason="rate"}') == 2


@pytest.fixture
def guarded(registry, stand_in, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("first\nsecond\n")
    with running(registry, stand_in.target, tokens_file=tokens) as client:
        yield client


def test_where_tokens_are_set_one_is_needed_for_all_but_the_probes(guarded, stand_in):
    for path in ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"):
        assert guarded.get(path).status == 200
    for given in ({}, {"Authorization": "Bearer third"}, {"Authorization": "Basic first"}):
        for answer in (
            guarded.post(PREDICT, v1(IMAGE), headers=given),
            guarded.post("/predict", IMAGE, headers=given),
            guarded.get("/v1/models/outnumbered", headers=given),
            guarded.get("/nothing", headers=given),
        ):
            assert (answer.status, answer.json["reason"]) == (401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert not stand_in.seen
    for token in ("first", "second"):
        headers = {"Authorization": f"Bearer {token}"}
        assert guarded.post(PREDICT, v1(IMAGE), headers=headers).status == 200


def test_without_a_token_a_body_is_not_waited_for(guarded):
    with guarded.connect() as connection:
        connection.sendall(head(10**6))
        assert received_answer(connection).status == 401


def test_a_body_that_says_it_is_too_long_is_not_waited_for(client):
    with client.connect() as connection:
        connection.sendall(head(100 * MEGABYTE))
        assert received_answer(connection).status == 413
    assert serves(client)


def test_a_compressed_body_is_refused(client):
    answer = client.post("/predict", IMAGE, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["reason"]) == (415, "compressed")


def test_a_request_of_too_many_images(client):
    answer = client.post(PREDICT, v1(*[b"x"] * 65))
    assert (answer.status, answer.json["reason"]) == (400, "too_many_images")


def test_bodies_that_are_held_at_a_time_are_bounded_in_all(registry, stand_in):
    bounds = {"max_body_bytes": 600_000, "max_bytes_in_flight": 1_000_000, "body_timeout": LIMIT}
    with running(registry, stand_in.target, **bounds) as client:
        with client.connect() as first, client.connect() as second:
            for connection in (first, second):
                connection.sendall(head(600_000))
                connection.sendall(b"x" * 599_000)
            refused, _, _ = select.select([first, second], [], [], LIMIT)
            assert received_answer(refused[0]).status == 503
        until(lambda: serves(client), "room")


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_a_connection_without_a_whole_head_is_closed(registry, stand_in, bytes_sent):
    with running(registry, stand_in.target, header_timeout=1) as client:
        with client.connect() as connection:
            connection.sendall(bytes_sent)
            drip = threading.Event()

            def dribble():
                with contextlib.suppress(OSError):
                    while not drip.wait(0.1):
                        connection.sendall(b"a" if bytes_sent else b"")

            threading.Thread(target=dribble, daemon=True).start()
            received(connection)  # ends, though a byte comes now and then
            drip.set()
        assert serves(client)


def test_a_body_that_drips_is_given_up(registry, stand_in):
    with running(registry, stand_in.target, body_timeout=0.5) as client:
        with client.connect() as connection:
            connection.sendall(head(1000) + b"x")
            answer = received_answer(connection)
            assert answer.status == 408
            assert json.load(answer)["reason"] == "body_timeout"
        assert serves(client)
        assert client.metric("in_flight") == 0


def test_clients_that_are_slow_to_send_hold_up_no_others(registry, stand_in):
    limits = {"max_in_flight": 1, "max_bodies_arriving": 3, "body_timeout": LIMIT}
    with running(registry, stand_in.target, **limits) as client, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(client.connect()) for _ in range(3)]
        for connection in slow[:2]:
            connection.sendall(head(len(IMAGE)) + IMAGE[:9])
        until(lambda: client.metric("in_flight") == 2, "the slow ones")
        assert serves(client)
        slow[2].sendall(head(len(IMAGE)))
        until(lambda: client.metric("in_flight") == 3, "the third")
        answer = client.post("/predict", IMAGE)
        assert (answer.status, answer.json["reason"]) == (503, "busy")
        slow[0].sendall(IMAGE[9:])
        assert received_answer(slow[0]).status == 200
        assert serves(client)


def test_images_that_grow_as_they_are_read_are_bounded_in_all(registry, stand_in):
    noise = np.random.default_rng(1).integers(0, 256, (2, 40, 3), np.uint8)
    small = encoded(Image.fromarray(np.tile(noise, (20, 1, 1))), "WEBP", lossless=True)
    grown = len(read_image(small, max_side=40).data)
    count = 8
    assert grown * count > 8_000 > 2 * grown
    assert len(json.dumps(v1(*[small] * count))) < 8_000
    with running(
        registry, stand_in.target, max_body_bytes=8_000, max_bytes_in_flight=8_000
    ) as client:
        answer = client.post(PREDICT, v1(*[small] * count))
        assert (answer.status, answer.json["reason"]) == (413, "images_too_large")
        assert client.post(PREDICT, v1(small, small)).status == 200
    assert len(stand_in.seen) == 1


def test_an_answer_may_take_longer_than_the_next_head_may(registry, stand_in):
    with running(registry, stand_in.target, header_timeout=1) as client:
        stand_in.delay = 1.3
        assert serves(client)


def test_a_request_that_takes_too_long_in_all_is_given_up(registry, stand_in):
    with running(registry, stand_in.target, request_timeout=0.5) as client:
        stand_in.delay = 1.5
        answer = client.post(PREDICT, v1(IMAGE))
        assert (answer.status, answer.json["reason"]) == (504, "request_timeout")
        assert client.metric("in_flight") == 0


def test_clients_that_go_away_leave_nothing_behind(client):
    for part in (b"", b"x" * 500):
        with client.connect() as connection:
            connection.sendall(head(1000) + part)
            until(lambda: client.metric("in_flight") == 1, "the request")
        until(lambda: client.metric("in_flight") == 0, "its end")
    assert serves(client)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000,
        head(10, "/predict", "Transfer-Encoding: chunked"),
        head("-1"),
        head("1e3"),
        head(3, "/predict", "Content-Length: 5"),
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_malformed_http_is_refused(client, request_bytes):
    with client.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request_bytes)
            connection.shutdown(socket.SHUT_WR)
        answer = received(connection)
    assert not answer or answer.split()[1] == b"400"
    assert serves(client)


@pytest.fixture
def process(registry, stand_in, tmp_path):
    """A gateway as a process of its own, as its image starts it, and its client."""
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
        with contextlib.suppress(Exception):  # it does not listen yet
            return client.get("/readyz").status == 200
        return False

    try:
        until(is_ready, "readiness")
        yield started, client
    finally:
        started.terminate()
        assert started.wait(LIMIT) in {0, -15}


def send_endlessly(connection, chunk, total):
    """Sends a body that is made as it is sent, until it is through or refused."""
    sent = 0
    connection.settimeout(0.05)
    while sent < total:
        with contextlib.suppress(TimeoutError):
            connection.sendall(chunk)
        sent += len(chunk)
        with contextlib.suppress(TimeoutError):
            return sent, connection.recv(65536)
    connection.settimeout(LIMIT)
    return sent, connection.recv(65536)


def test_a_hundred_megabytes_are_stopped_early_and_not_held(process):
    started, client = process
    assert serves(client)
    memory = psutil.Process(started.pid).memory_info
    before = memory().rss
    data = b"x" * MEGABYTE
    chunk = f"{MEGABYTE:x}\r\n".encode() + data + b"\r\n"
    for path in ("/predict", PREDICT):
        with client.connect() as connection:
            connection.sendall(head(None, path))
            sent, answer = send_endlessly(connection, chunk, 100 * MEGABYTE)
        assert answer.split()[1] == b"413"
        assert sent < 60 * MEGABYTE
    # The longest body that is taken is 32 MiB, of which growing may hold two copies.
    assert memory().rss - before < 110 * MEGABYTE
    assert serves(client)


def test_the_process_ends_after_its_last_answer_when_it_is_told_to(process, stand_in):
    started, client = process
    stand_in.delay = 1.0
    with ThreadPoolExecutor(1) as threads, client.connect() as idle:
        last = threads.submit(client.post, PREDICT, v1(IMAGE))
        until(lambda: client.metric("in_flight") == 1, "the last request")
        started.terminate()
        assert received(idle) == b""
        with pytest.raises(urllib3.exceptions.HTTPError):
            Client(client.port).get("/healthz")
        assert last.result().status == 200
    assert started.wait(LIMIT) in {0, -15}


def test_a_setting_that_is_wrong_ends_the_start_in_words():
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
