"""A process of Prism, Beam's portable engine."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def program() -> Path:
    """Returns the program, which `make engines` fetches; skips the test if it is not there."""
    from apache_beam.version import __version__

    found = _ROOT / ".engines" / f"prism-{__version__}"
    if not found.exists():
        pytest.skip("Prism is not there; `make engines` fetches it, if Go is installed")
    return found


@contextlib.contextmanager
def running_prism(log: Path) -> Iterator[str]:
    """Yields the address of a Prism; skips the test if the program is not there."""
    # Prism keeps cores busy while it waits for bundles without outputs: one at most, if it is idle.
    command = ["nice", str(program()), "--job_port=0", "--serve_http=false", "--log_kind=json"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, env={**os.environ, "GOMAXPROCS": "1"})
    try:
        yield _address(process, log)
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen, log: Path) -> str:
    while process.poll() is None:
        for line in log.read_text().splitlines():
            if endpoint := json.loads(line).get("endpoint"):
                return str(endpoint)
    raise AssertionError(f"Prism has ended: {log.read_text()}")
