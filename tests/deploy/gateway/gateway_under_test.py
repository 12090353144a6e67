"""The gateway on a local port, and a client of it."""

import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass

import urllib3

from components.images.rules import ReadingRules
from gateway.server import server
from gateway.settings import Settings

TIMEOUT = 30
"""Seconds after which waiting fails."""


@dataclass
class Response:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """A client of a gateway."""

    def __init__(self, port):
        self.port = port
        self._pool = urllib3.PoolManager(maxsize=32, retries=False, timeout=TIMEOUT)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body, **options):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, body=data, **options)

    def request(self, method, path, **options):
        found = self._pool.request(method, f"http://127.0.0.1:{self.port}{path}", **options)
        return Response(found.status, found.headers, found.data)

    def metric(self, name):
        """Returns the value of a metric, named with its labels; 0 if it does not exist."""
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(f"outnumbered_gateway_{name} "):
                return float(line.split()[-1])
        return 0.0

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)


def wait_until(condition, what):
    """Waits for a condition, and fails if it does not become true in time."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, f"no {what} within {TIMEOUT} s"
        time.sleep(0.02)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(registry, upstream, *, await_ready=True, **settings):
    """Runs a gateway in a thread, and gives its client once it is ready."""
    port = free_port()
    given = {"poll_seconds": 0.05, "registry_poll_seconds": 0.05, "rate": 0.0, **settings}
    uvicorn = server(
        Settings(registry=str(registry), upstream=upstream, host="127.0.0.1", port=port, **given)
    )
    thread = threading.Thread(target=uvicorn.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: uvicorn.started, "start of the gateway")
        client = Client(port)
        if await_ready:
            wait_until(lambda: client.get("/readyz").status == 200, "readiness")
        yield client
    finally:
        uvicorn.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def write_rules(registry, version, **rules):
    """Writes the reading rules of a version in a registry."""
    path = registry / str(version) / "assets" / "reading_rules.json"
    path.parent.mkdir(parents=True)
    path.write_text(ReadingRules(image_size=32, pixel_range=(0.0, 1.0), **rules).to_json())
