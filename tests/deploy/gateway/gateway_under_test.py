"""The gateway on a real port of this machine, and what a client does with it."""

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

LIMIT = 30
"""Seconds after which a loop that waits gives up."""


@dataclass
class Answered:
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
        self._pool = urllib3.PoolManager(maxsize=32, retries=False, timeout=LIMIT)

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def post(self, path, body, **options):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, body=data, **options)

    def ask(self, method, path, **options):
        found = self._pool.request(method, f"http://127.0.0.1:{self.port}{path}", **options)
        return Answered(found.status, found.headers, found.data)

    def metric(self, name):
        """The value of a metric, named with its labels; 0 where there is none."""
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(f"outnumbered_gateway_{name} "):
                return float(line.split()[-1])
        return 0.0

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)


def until(condition, what):
    """Waits for a condition, and fails where it does not come."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {LIMIT} s"
        time.sleep(0.02)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(registry, upstream, *, await_ready=True, **settings):
    """A gateway in a thread, ready, and its client."""
    port = free_port()
    given = {"poll_seconds": 0.05, "rate": 0.0, **settings}
    uvicorn = server(
        Settings(registry=registry, upstream=upstream, host="127.0.0.1", port=port, **given)
    )
    thread = threading.Thread(target=uvicorn.run, daemon=True)
    thread.start()
    try:
        until(lambda: uvicorn.started, "the gateway")
        client = Client(port)
        if await_ready:
            until(lambda: client.get("/readyz").status == 200, "readiness")
        yield client
    finally:
        uvicorn.should_exit = True
        thread.join(LIMIT)
        assert not thread.is_alive()


def write_rules(registry, version, **rules):
    """Gives a version of a registry its reading rules."""
    path = registry / str(version) / "assets" / "reading_rules.json"
    path.parent.mkdir(parents=True)
    path.write_text(ReadingRules(image_size=32, pixel_range=(0.0, 1.0), **rules).to_json())
